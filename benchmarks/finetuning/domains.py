"""The domains as folders of images: made once, from Fashion-MNIST and from computed surface textures."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch

from benchmarks.common import RUNS, relative
from benchmarks.finetuning.grid import FROM_CLASSES, HELD_OUT, SIDE

TRAIN = 5000
"""Images of a target to train on, of which the grid takes fifty or five hundred."""
MATERIALS = ("metal", "fabric", "casting")


def domain(name: str) -> str:
    """The folder of a domain: ``source`` (five classes), ``classes`` (the other five), ``textures``."""
    folder = RUNS / "finetuning" / "domains" / name
    done = folder.with_name(f"{name}.done")
    if not done.exists():
        _write(folder, *(_textures() if name == "textures" else _classes(own=name == "source")))
        done.touch()
    return relative(folder)


def _classes(own: bool) -> tuple[dict[str, tuple[torch.Tensor, torch.Tensor]], list[str]]:
    """Fashion-MNIST's classes of `FROM_CLASSES`, or the others."""
    from sadm.data import Fit, Split, open_source

    opened = cast(Split, open_source("fashion-mnist", fit=Fit(resolution=SIDE)))
    names = [name for name in opened.train.class_names if (name in FROM_CLASSES) == own]
    chosen = torch.tensor([opened.train.class_names.index(name) for name in names])
    parts = {}
    train = None if own else TRAIN // len(names)
    for part, images, most in (("train", opened.train, train), ("test", opened.held_out, HELD_OUT // len(names))):
        labels = cast(torch.Tensor, images.labels)
        rows = torch.cat([(labels == index).nonzero().flatten()[:most] for index in chosen]).sort().values
        parts[part] = (images.images[rows], torch.searchsorted(chosen, labels[rows]))
    return parts, names


def _textures() -> tuple[dict[str, tuple[torch.Tensor, torch.Tensor]], list[str]]:
    """Surfaces without defects; their materials are the classes."""
    from sadm.data import surface

    made = [
        torch.as_tensor(surface(index, size=(SIDE, SIDE), material=material, defect="good", channels=1).image)
        for index in range(-(-(TRAIN + HELD_OUT) // len(MATERIALS)))
        for material in MATERIALS
    ]
    images, labels = torch.stack(made), torch.arange(len(made)) % len(MATERIALS)
    return {"train": (images[:TRAIN], labels[:TRAIN]), "test": (images[TRAIN:], labels[TRAIN:])}, [*MATERIALS]


def _write(folder: Path, parts: dict[str, tuple[torch.Tensor, torch.Tensor]], names: list[str]) -> None:
    from PIL import Image

    for part, (images, labels) in parts.items():
        for index, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            name = names[label].replace("/", " or ")
            path = folder / part / name / f"{index:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(path)  # without the care of `write_png`, which waits for the disk
