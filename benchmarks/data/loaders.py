"""Who is timed: this package's stream, Hugging Face datasets with torch's DataLoader, and that loader on decoded pixels."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset

from sadm.core.optional import import_optional
from sadm.data import BatchStream, ImageSet, open_source

CLASSES = 4
BATCH = 64


class Loader(Protocol):
    """A contestant, opened on a folder of images."""

    name: str

    def passes(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """One pass over the set: images [64, 3, H, W], float32 in [-1, 1], half of them mirrored, and labels [64]."""
        ...


def write_folder(root: Path, count: int, side: int) -> None:
    """PNG files of `side` x `side` colour pixels in class folders: smooth shapes with some grain, as photographs compress."""
    draws = np.random.default_rng(0)
    for i in range(count):
        folder = root / f"class {i % CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(draws.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64)
        pixels = np.clip(smooth + draws.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:05d}.png")


def read_folder(root: Path) -> ImageSet:
    """All of it, decoded into memory, as `sadm train` does at its start."""
    opened = open_source(str(root))
    if not isinstance(opened, ImageSet):
        raise TypeError(f"{root} came divided")
    return opened


def labels_of(images: ImageSet) -> torch.Tensor:
    """Of a set that has some."""
    if images.labels is None:
        raise TypeError(f"{images.source} has no labels")
    return images.labels


class Ours:
    """`BatchStream` on the decoded set, in the caller's thread."""

    name = "sadm"

    def __init__(self, images: ImageSet) -> None:
        self.stream = BatchStream(images, BATCH, seed=0, flip=True)
        self.labels = labels_of(images)
        self.step = 0

    def passes(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """See `Loader.passes`."""
        for _ in range(int(self.stream.order.length) // BATCH):
            batch = self.stream.batch(self.step)
            self.step += 1
            yield batch.x0, self.labels[batch.index]


class DatasetsLoader:
    """An image folder of `datasets` whose transform makes tensors, in torch's DataLoader: as its documentation shows.

    Args:
        root: class folders.
        cache: where `datasets` keeps its index.
        workers: processes.
    """

    def __init__(self, root: Path, cache: Path, workers: int) -> None:
        self.name = f"datasets, {workers} worker processes"
        data = datasets_library().load_dataset("imagefolder", data_dir=str(root), cache_dir=str(cache), split="train")
        data.set_transform(to_tensors)
        self.loader = data_loader(data, workers)

    def passes(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """See `Loader.passes`."""
        for batch in self.loader:
            yield batch["image"], batch["label"]


class TensorLoader:
    """torch's DataLoader on pixels decoded before, converted and mirrored a batch at a time."""

    name = "DataLoader on decoded pixels"

    def __init__(self, images: ImageSet) -> None:
        self.loader = data_loader(TensorDataset(images.images, labels_of(images)), 0)

    def passes(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """See `Loader.passes`."""
        for pixels, labels in self.loader:
            x0 = pixels.float() / 127.5 - 1
            yield torch.where(torch.rand(len(x0), 1, 1, 1) < 0.5, x0.flip(-1), x0), labels


def datasets_library() -> Any:
    """The package `datasets`, silent."""
    library = import_optional("datasets", "dev", "benchmarks.data")
    library.disable_progress_bars()
    return library


def data_loader(data: Dataset[Any], workers: int) -> DataLoader[Any]:
    """Shuffled batches; worker processes stay between passes."""
    return DataLoader(data, BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0)


def to_tensors(examples: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The transform of `DatasetsLoader`: PIL images of a batch to tensors, each mirrored with probability 1/2."""
    return {"image": [to_tensor(image) for image in examples["image"]], "label": examples["label"]}


def to_tensor(image: Image.Image) -> torch.Tensor:
    """[3, H, W], float32 in [-1, 1]."""
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 127.5 - 1


def contestants(images: ImageSet, root: Path, cache: Path) -> list[Callable[[], Loader]]:
    """What opens each; libraries are imported before."""
    datasets_library()
    usual = functools.partial(DatasetsLoader, root, cache)
    return [
        functools.partial(Ours, images),
        functools.partial(usual, 0),
        functools.partial(usual, 2),
        functools.partial(TensorLoader, images),
    ]
