"""By which filter do the fingerprints of copies differ least, beside those of images that are none?

Differences are shares of the surroundings' difference, as in `sadm.data.preparation.duplicates`: that of a copy is to be small,
the smallest between images that are no copies large.

    python -m benchmarks.prepare.filters        # a minute; prints the table of docs/prepare.md
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from benchmarks.prepare.copies import COPIES
from benchmarks.prepare.pictures import SETS

FILTERS = ("BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")
NAMES = ("surfaces, 96x96", "parts of one kind, 96x96", "Fashion-MNIST, 28x28")
KINDS = ("half the size", "JPEG, quality 50")
COUNT = 300
SIDE = 32
NEAREST = 6


def fingerprints(images: list[Image.Image], name: str) -> np.ndarray:
    """Grey levels at 32 x 32 of mean 0 and norm 1 [N, 1024]."""
    size, filter_ = (SIDE, SIDE), Image.Resampling[name]
    levels = np.stack([np.asarray(one.convert("L").convert("F").resize(size, filter_)).ravel() for one in images])
    levels = levels - levels.mean(axis=1, keepdims=True)
    return levels / np.sqrt((levels**2).sum(axis=1, keepdims=True))


def row(name: str) -> str:
    """A line of the table."""
    cells = []
    for one in NAMES:
        images = SETS[one](COUNT).images
        originals = fingerprints(images, name)
        differences = np.sort(1 - originals @ originals.T, axis=1)[:, 1:]  # the first is itself
        around = differences[:, NEAREST - 1]
        shares = [f"{(differences[:, 0] / around).min():.2f}"]
        for kind in KINDS:
            copies = fingerprints([Image.open(io.BytesIO(COPIES[kind](image))) for image in images], name)
            shares.append(f"{np.median((1 - (originals * copies).sum(axis=1)) / around):.3f}")
        cells.append(" / ".join(shares))
    return f"| {name.lower()} | {' | '.join(cells)} |"


if __name__ == "__main__":
    print(f"| filter | {' | '.join(NAMES)} |", f"|{' --- |' * (len(NAMES) + 1)}", *map(row, FILTERS), sep="\n")
