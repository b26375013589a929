"""Pictures for the tests of preparation: parts photographed on one machine, and scenes that have nothing in common."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_images

from benchmarks.prepare.copies import encoded
from benchmarks.prepare.pictures import part

__all__ = ["encoded", "part", "scenes", "write"]


def scenes(side: int = 100) -> list[Image.Image]:
    """48 tiles of two photographs, none overlapping another."""
    return [
        Image.fromarray(photograph[top : top + side, left : left + side])
        for photograph in load_sample_images().images
        for top in range(0, photograph.shape[0] - side + 1, side)
        for left in range(0, photograph.shape[1] - side + 1, side)
    ]


def write(path: Path, image: Image.Image, **options: object) -> Path:
    """Saves an image, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path
