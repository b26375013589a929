"""The grid of samples that a run and a command draw."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from sadm.core.files import write_atomically
from sadm.core.grids import centred, grid_picture, grid_png
from sadm.core.marking import Mark, write_marked_png
from sadm.data import to_uint8


def grid_labels(classes: int, count: int) -> torch.Tensor | None:
    """Labels 0, 1, …, 0, 1, … [count] for a grid with one class a column; None without classes."""
    return torch.arange(count) % classes if classes else None


def grid_columns(classes: int, count: int) -> int:
    """Columns of a grid of `count` images: one a class where that is readable, else nearly square."""
    return classes if 2 <= classes <= 12 else max(1, math.isqrt(count))


def write_grid(path: Path, images: Iterable[torch.Tensor], columns: int = 10, mark: Mark | None = None) -> None:
    """Writes images [C, H, W] in [-1, 1] as one PNG, each in the middle of its place where they are of several shapes.

    With `mark`, which images of a model have, it is marked.
    """
    pictures = centred([to_uint8(image).permute(1, 2, 0).numpy() for image in images])
    if mark is None:
        write_atomically(path, grid_png(pictures, columns))
        return
    grid = grid_picture(pictures, columns)
    write_marked_png(
        path, grid if grid.shape[2] == 4 else np.concatenate([grid[..., :1]] * 3 + [grid[..., 1:]], axis=2), mark
    )
