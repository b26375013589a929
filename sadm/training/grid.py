"""The grid of samples that a run and a command draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from sadm.core.files import write_atomically
from sadm.core.grids import centred, grid_png
from sadm.data import to_uint8


def grid_labels(classes: int, count: int) -> torch.Tensor | None:
    """Labels 0, 1, …, 0, 1, … [count] for a grid with one class a column; None without classes."""
    return torch.arange(count) % classes if classes else None


def grid_columns(classes: int, count: int) -> int:
    """Columns of a grid of `count` images: one a class where that is readable, else nearly square."""
    return classes if 2 <= classes <= 12 else max(1, math.isqrt(count))


def write_grid(path: Path, images: Sequence[torch.Tensor], columns: int = 10) -> None:
    """Writes images [C, H, W] in [-1, 1] as one PNG, each in the middle of its place where they are of several shapes."""
    pictures = [to_uint8(image).permute(1, 2, 0).numpy() for image in images]
    write_atomically(path, grid_png(centred(pictures), columns))
