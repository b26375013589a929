"""What an export wrote, read without our own readers."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image


def rows(folder: Path) -> list[dict[str, str]]:
    """The rows of metadata.csv."""
    with open(folder / "metadata.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pixels_of(path: Path) -> np.ndarray:
    """[H, W] or [H, W, C]."""
    with Image.open(path) as image:
        return np.asarray(image)
