"""Pictures for the tests of preparation: parts photographed on one machine, and scenes that have nothing in common."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_sample_images


def part(seed: int, side: int = 96, kind: int = 0) -> Image.Image:
    """A disc with holes in a fixed camera: shifted and turned a little, lit a little differently, with its own grain."""
    draws = np.random.default_rng((seed, kind))
    y, x = np.mgrid[:side, :side] - side / 2
    shift, angle = draws.normal(0, side / 200, 2), np.deg2rad(draws.normal(0, 1))
    x, y = x - shift[0], y - shift[1]
    x, y = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    radius = np.hypot(x, y) / side
    levels = np.where(radius < 0.4, 150.0, 60.0)
    levels[radius < 0.08 + 0.02 * (kind % 4)] = 70
    for hole in range(4 + kind):
        around = 2 * np.pi * hole / (4 + kind)
        distance = np.hypot(x - 0.27 * side * np.cos(around), y - 0.27 * side * np.sin(around))
        levels[distance < 0.05 * side] = 40
    levels = ndimage.gaussian_filter(levels, side / 200)
    levels += 8 * ndimage.gaussian_filter(draws.standard_normal((side, side)), 0.8)
    levels = levels * (1 + draws.normal(0, 0.02)) + x / side * draws.normal(0, 6)
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).convert("RGB")


def scenes(side: int = 100) -> list[Image.Image]:
    """48 tiles of two photographs, none overlapping another."""
    return [
        Image.fromarray(photograph[top : top + side, left : left + side])
        for photograph in load_sample_images().images
        for top in range(0, photograph.shape[0] - side + 1, side)
        for left in range(0, photograph.shape[1] - side + 1, side)
    ]


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write(path: Path, image: Image.Image, **options: object) -> Path:
    """Saves an image, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path
