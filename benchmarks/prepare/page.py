"""The section of docs/results.md."""

from __future__ import annotations

from typing import Any

from benchmarks.common import result_path, stored

NAME = "prepare"
DEFINITIONS = """Of sets without copies, one image in ten is copied in one way at a time, and all are searched as
`sadm prepare` does. Found is the share of the planted copies that are tied to their original. Tied to another is the share of
images that are taken for copies of each other where nothing was planted. Beside it, perceptual hashes alone
(`imagehash.phash`, 64 bits): equal ones, and those that differ by a few bits."""

BUSY = (
    " The machine had more to do than it has cores: rates are comparable with each other on one thread, and what several threads "
    "gain could not show."
)


def section() -> str | None:
    """The stored result; None where there is none."""
    if not result_path(NAME, "result").exists():
        return None
    found = stored(NAME, "result")
    lines = ["## Does `sadm prepare` find copies?", "", "`python -m benchmarks.prepare --run`", "", DEFINITIONS, ""]
    for name, one in found["sets"].items():
        lines += finding_table(name, one)
    return "\n".join([*lines, *speed_table(found)])


def finding_table(name: str, one: dict[str, Any]) -> list[str]:
    """What is found in one set."""
    by_finder = one["found"]
    kinds = [kind for kind in by_finder["sadm"] if kind != "false"]
    return [
        *head(f"{name}: {one['images']} images", [*by_finder]),
        *(row(f"found: {kind}", [f"{found[kind]:.0%}" for found in by_finder.values()]) for kind in kinds),
        row("tied to another", [f"{found['false']:.1%}" for found in by_finder.values()]),
        "",
    ]


def speed_table(found: dict[str, Any]) -> list[str]:
    """Images a second."""
    where, comparing = found["provenance"], found["comparing"]
    rates = {name: one["images_per_second"] for name, one in found["scans"].items()}
    seconds = comparing["seconds"]
    return [
        *head("scanned, images/s", [*next(iter(rates.values()))]),
        *(row(name, [f"{rate:.4g}" for rate in found.values()]) for name, found in rates.items()),
        "",
        f"A scan decodes, hashes content and pixels, measures contrast and colour, and writes what it found; the other column "
        f"decodes and hashes perceptually. Comparing {comparing['images']} images with each other in all eight orientations "
        f"takes {seconds['sadm']:.3g} s, comparing their hashes in one {seconds['hashes alone']:.3g} s. {where['machine']}, "
        f"{where['cores']} cores, load average {found['load_average']:.2g} when it ended; Pillow {where['pillow']}, ImageHash "
        f"{where['imagehash']}; commit {where['commit']}.{BUSY if found['load_average'] > where['cores'] else ''}",
        "",
    ]


def head(title: str, columns: list[str]) -> list[str]:
    """The first two lines of a table."""
    return [row(title, columns), f"|{' --- |' * (len(columns) + 1)}"]


def row(title: str, cells: list[str]) -> str:
    """A line of a table."""
    return f"| {title} | {' | '.join(cells)} |"
