"""Image files that tests of sources share."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sadm.data import ImageSet, Split, open_source
from sadm.data.splitting import split_set


def picture(seed: int, width: int = 8, height: int = 8) -> Image.Image:
    """A colour picture of noise."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def png(seed: int, width: int = 8, height: int = 8) -> bytes:
    """The same, encoded."""
    buffer = io.BytesIO()
    picture(seed, width, height).save(buffer, "PNG")
    return buffer.getvalue()


def fill(folder: Path, names: Sequence[str]) -> None:
    """Image files; picture i is the one of seed i."""
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(i))


def pixels(*seeds: int) -> torch.Tensor:
    """The pictures of some seeds [N, 3, 8, 8], uint8, without any file."""
    return torch.stack([torch.from_numpy(np.array(picture(seed))).permute(2, 0, 1) for seed in seeds])


def read(source: str | Path, **options: object) -> ImageSet:
    """Opens a source that is not divided."""
    opened = open_source(str(source), **options)  # type: ignore[arg-type]
    assert isinstance(opened, ImageSet)
    return opened


def read_split(source: str | Path, **options: object) -> Split:
    """Opens a source that says what is held out."""
    images = read(source, **options)
    assert "held_out" in (images.parts or ())
    return split_set(images, 0.5, 0)


def class_of(images: ImageSet) -> dict[str, str]:
    """The class of each image, by name."""
    assert images.labels is not None
    return {name: images.class_names[label] for name, label in zip(images.names, images.labels.tolist(), strict=True)}


def remarks(images: ImageSet) -> str:
    """All that the set says of its source."""
    return "\n".join(f"{note.path}: {note.text}" for note in images.notes)
