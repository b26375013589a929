"""Fashion-MNIST with a share of its training images replaced by pure noise, labels kept: data as nobody should have them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import cast

import torch

from sadm.data import Split, open_source

SHARE = 0.1
BLOCK = 4
"""Side of a grain of noise in pixels of the original: what averaging to 8x8 leaves of it is noise still."""


def write_noisy(folder: Path) -> Path:
    """Writes the four IDX files, once; returns the folder."""
    if (folder / "done").exists():
        return folder
    opened = cast(Split, open_source("fashion-mnist"))  # it comes divided
    folder.mkdir(parents=True, exist_ok=True)
    draws = torch.Generator().manual_seed(0)
    images = opened.train.images.clone()  # [N, 1, 28, 28]
    chosen = torch.randperm(len(images), generator=draws)[: round(SHARE * len(images))]
    grains = torch.randint(0, 256, (len(chosen), 1, 28 // BLOCK, 28 // BLOCK), generator=draws, dtype=torch.uint8)
    images[chosen] = grains.repeat_interleave(BLOCK, 2).repeat_interleave(BLOCK, 3)
    for part, pixels, labels in (
        ("train", images, opened.train.labels),
        ("t10k", opened.held_out.images, opened.held_out.labels),
    ):
        write_idx(folder / f"{part}-images-idx3-ubyte", pixels[:, 0])
        write_idx(folder / f"{part}-labels-idx1-ubyte", cast(torch.Tensor, labels).to(torch.uint8))
    (folder / "done").touch()
    return folder


def write_idx(path: Path, values: torch.Tensor) -> None:
    """One IDX file of unsigned bytes."""
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(header + values.contiguous().numpy().tobytes())
