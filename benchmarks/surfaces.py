"""The built-in inspection images: the picture of the documentation, and how fast they are made.

python -m benchmarks.surfaces --picture
python -m benchmarks.surfaces --speed
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from benchmarks.common import ROOT
from sadm.core.grids import write_png
from sadm.data import MATERIALS, SURFACE_CLASSES, surface

PICTURE = ROOT / "docs" / "images" / "surfaces.png"
SEVERITY = 0.8
_SIDE = 112
_GAP = 4
_INDICES = {"metal": (4, 6, 9, 0, 7, 7), "fabric": (0, 3, 1, 2, 9, 10), "casting": (4, 11, 1, 0, 0, 8)}
_COUNTS = {64: 100, 256: 20, 1024: 6, 2048: 3}
_BATCHES = 8


def picture() -> None:
    """Writes one row for each material and below it one of masks; the columns are the classes."""
    rows = []
    for material in MATERIALS:
        given = {"size": _SIDE, "material": material, "severity": SEVERITY}
        made = [surface(i, defect=c, **given) for i, c in zip(_INDICES[material], SURFACE_CLASSES, strict=True)]
        rows += [_row([one.image[0] for one in made]), _row([one.mask[0] for one in made])]
    write_png(PICTURE, np.concatenate(rows)[:-_GAP, :-_GAP, None])
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size / 1000:.0f} KB")


def speed() -> None:
    """Prints processor time, of the quickest of several batches, so that other work on the machine counts little."""
    torch.set_num_threads(1)
    for size, count in _COUNTS.items():
        each = min(_seconds(size, range(batch * count, (batch + 1) * count)) for batch in range(_BATCHES)) / count
        print(f"{size} x {size}: {1000 * each:.1f} ms of one core for an image, {1 / each:.1f} images/s")


def _seconds(size: int, indices: range) -> float:
    start = time.process_time()
    for index in indices:
        surface(index, size=size)
    return time.process_time() - start


def _row(pictures: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.pad(one, ((0, _GAP), (0, _GAP)), constant_values=255) for one in pictures], axis=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--picture", action="store_true", help=f"write {PICTURE.relative_to(ROOT)}")
    action.add_argument("--speed", action="store_true", help="print images per second of one core")
    (picture if parser.parse_args().picture else speed)()
