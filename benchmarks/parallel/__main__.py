"""The command line of `benchmarks.parallel`."""

from __future__ import annotations

from typing import Any

import benchmarks.parallel
from benchmarks.common import command_line, store, stored
from benchmarks.parallel.cases import all_cases, quick_cases
from benchmarks.parallel.compare import compared, largest
from benchmarks.parallel.page import NAME

COUNTS = (2, 4)


def run() -> None:
    """Compares all cases, and stores the differences."""
    from sadm.core.provenance import provenance

    rows = [row for count in COUNTS for row in compared(all_cases(), count)]
    store(NAME, "result", {"rows": rows, "provenance": provenance()})


def quick() -> dict[str, Any]:
    """One spawn of two processes."""
    return largest(compared(quick_cases(), 2))


def summary() -> dict[str, Any]:
    """The largest stored differences, and every case."""
    rows = stored(NAME, "result")["rows"]
    return {**largest(rows), "cases": len(rows), "rows": rows}


if __name__ == "__main__":
    command_line(
        benchmarks.parallel.__doc__, run, summary, quick, "compare two processes with one in a few cases, print as JSON"
    )
