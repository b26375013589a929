"""What is found, and how fast."""

from __future__ import annotations

import dataclasses
import functools
import os
import statistics
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from PIL import Image

from benchmarks.data.measure import interleaved, ratio, timed
from benchmarks.prepare.copies import COPIES
from benchmarks.prepare.finding import close, search
from benchmarks.prepare.pictures import SETS, from_source
from sadm.core.provenance import provenance
from sadm.data.preparation.duplicates import near_duplicates
from sadm.data.preparation.facts import Facts
from sadm.data.preparation.scanning import scan
from sadm.data.sources import list_source

USUAL = "imagehash.phash, one image after another"


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        images: of each set.
        sets: names of these, see `SETS`.
        kinds: of copies, see `COPIES`.
        files: kinds of files that are scanned: format, width, height, count.
        turns: of each contestant in speed.
        compared: images that are compared with each other.
        slice_seconds: of a turn, at least.
    """

    images: int
    sets: tuple[str, ...]
    kinds: tuple[str, ...]
    files: tuple[tuple[str, int, int, int], ...]
    turns: int
    compared: int
    slice_seconds: float = 0.0


QUICK = Effort(
    images=200,
    sets=tuple(name for name in SETS if "Fashion" not in name),
    kinds=("the same file", "JPEG, quality 85", "half the size", "mirrored", "trimmed by 3 % on each side"),
    files=(("PNG", 256, 256, 100),),
    turns=3,
    compared=500,
)
FULL = Effort(
    images=1000,
    sets=tuple(SETS),
    kinds=tuple(COPIES),
    files=(("PNG", 256, 256, 400), ("JPEG", 1600, 1200, 60), ("JPEG", 4000, 3000, 16)),
    turns=5,
    compared=5000,
)


def measure(effort: Effort) -> dict[str, Any]:
    """All that `effort` asks for."""
    found: dict[str, Any] = {"sets": {}}
    for name in effort.sets:
        pictures = SETS[name](effort.images)
        found["sets"][name] = {"images": len(pictures), "found": search(pictures, effort.kinds)}
    with tempfile.TemporaryDirectory() as folder:
        found["scans"] = {
            f"{kind}, {width}x{height}": scan_rates(
                Path(folder) / f"{kind}{width}", (kind, width, height, count), effort
            )
            for kind, width, height, count in effort.files
        }
    first = next(iter(found["scans"].values()))
    return {
        "recall": mean_recall(found["sets"]),
        "images_tied_to_no_copy": {name: one["found"]["sadm"]["false"] for name, one in found["sets"].items()},
        "images_per_second": first["images_per_second"][f"sadm, {os.cpu_count()} threads"],
        "ratio_to_imagehash_on_one_thread": first["ratio_on_one_thread"],
        **found,
        "comparing": comparing(effort.compared),
        "load_average": os.getloadavg()[0],
        "provenance": {
            **provenance(),
            "imagehash": metadata.version("imagehash"),
            "pillow": metadata.version("pillow"),
        },
    }


def mean_recall(sets: dict[str, Any]) -> dict[str, float]:
    """Of each kind of copies, the share found, as a mean over the sets."""
    kinds = [kind for kind in next(iter(sets.values()))["found"]["sadm"] if kind != "false"]
    return {kind: statistics.fmean(one["found"]["sadm"][kind] for one in sets.values()) for kind in kinds}


def scan_rates(folder: Path, files: tuple[str, int, int, int], effort: Effort) -> dict[str, Any]:
    """Images a second of a scan, on one thread and on all cores, and of perceptual hashes alone."""
    kind, width, height, count = files
    write_files(folder / "in", kind, (width, height), count)
    listing = list_source(str(folder / "in"))
    assert listing is not None  # noqa: S101 - a folder of images always has one
    scans = iter(range(1 << 30))  # each into a folder of its own, or nothing would be left to look at

    def scanning(jobs: int) -> int:
        return len(scan(listing, folder / f"out{next(scans)}", "in", jobs=jobs))

    def usual() -> int:
        return len([imagehash.phash(Image.open(record.content)) for record in listing.records])  # type: ignore[arg-type]

    cores = os.cpu_count() or 1
    works: dict[str, Callable[[], int]] = {
        f"sadm, {jobs} thread{'s' * (jobs > 1)}": functools.partial(scanning, jobs) for jobs in (1, cores)
    }
    seconds = interleaved({**works, USUAL: usual}, effort)  # type: ignore[arg-type]
    return {
        "images": count,
        "images_per_second": {name: 1 / statistics.median(turns) for name, turns in seconds.items()},
        "ratio_on_one_thread": ratio(seconds[USUAL], seconds["sadm, 1 thread"]),
    }


def write_files(folder: Path, kind: str, size: tuple[int, int], count: int) -> None:
    """Surfaces, enlarged where they must be, with some grain."""
    folder.mkdir(parents=True)
    pictures = from_source(f"surfaces:count={min(count, 20)},size=256", 20).images
    draws = np.random.default_rng(0)
    for i in range(count):
        levels = np.asarray(pictures[i % len(pictures)].resize(size).convert("RGB"), dtype=np.int16)
        grain = draws.integers(-4, 5, (*levels.shape[:2], 1), dtype=np.int16)
        Image.fromarray(np.clip(levels + grain, 0, 255).astype(np.uint8)).save(folder / f"{i:04d}.{kind.lower()}", kind)


def comparing(count: int) -> dict[str, Any]:
    """Seconds to compare so many images with each other, and to compare their hashes alone."""
    facts = random_facts(count)
    hashes = [int(fact.phash, 16) for fact in facts]
    return {
        "images": count,
        "seconds": {
            "sadm": timed(lambda: near_duplicates(facts))[0],
            "hashes alone": timed(lambda: close(hashes, 10))[0],
        },
    }


def random_facts(count: int) -> list[Facts]:
    """Smooth random images as a scan describes them."""
    draws = np.random.default_rng(0)
    found = []
    for i in range(count):
        coarse = Image.fromarray(draws.integers(0, 256, (6, 6), dtype=np.uint8))
        thumb = np.asarray(coarse.resize((32, 32), Image.Resampling.BICUBIC))
        phash = str(imagehash.phash(Image.fromarray(thumb)))
        found.append(
            Facts(str(i), 1, 0, width=96, height=96, phash=phash, thumb=thumb.tobytes(), tint=bytes([128]) * 128)
        )
    return found
