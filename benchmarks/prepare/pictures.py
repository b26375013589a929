"""Sets of images of which no two are copies, though many look alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

from sadm.data import ImageSet, open_source


@dataclasses.dataclass(frozen=True)
class Pictures:
    """A set of images.

    Attributes:
        images: modes L or RGB.
        labels: the class of each; None = of none.
    """

    images: list[Image.Image]
    labels: list[str | None]

    def __len__(self) -> int:
        return len(self.images)


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


def parts(kinds: int, each: int) -> Pictures:
    """So many photographs of each of several kinds of parts, all on one machine."""
    pairs = [(kind, seed) for kind in range(kinds) for seed in range(each)]
    return Pictures([part(seed, kind=kind) for kind, seed in pairs], [f"kind {kind}" for kind, _ in pairs])


def from_source(source: str, count: int) -> Pictures:
    """The first images of a source that `sadm train` takes, each once."""
    opened = open_source(source)
    images = opened if isinstance(opened, ImageSet) else opened.train
    pixels = images.images.permute(0, 2, 3, 1).numpy()  # [N, H, W, C]
    _, first = np.unique(pixels.reshape(len(pixels), -1), axis=0, return_index=True)
    kept = np.sort(first)[:count]
    pictures = [Image.fromarray(pixels[i, ..., 0] if pixels.shape[-1] == 1 else pixels[i]) for i in kept]
    labels = [] if images.labels is None else [images.class_names[images.labels[i]] for i in kept.tolist()]
    return Pictures(pictures, labels or [None] * len(pictures))


SETS: dict[str, Callable[[int], Pictures]] = {
    "surfaces, 96x96": lambda count: from_source(f"surfaces:count={count},size=96", count),
    "parts of one kind, 96x96": lambda count: parts(1, count),
    "parts, 20 kinds, few of each, 96x96": lambda count: parts(20, max(4, count // 150)),
    "Fashion-MNIST, 28x28": lambda count: from_source("fashion-mnist", count),
    "digits, 8x8": lambda count: from_source("digits", count),
}
"""By name, each from a number of images that is meant."""
