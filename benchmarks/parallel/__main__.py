"""The command line of `benchmarks.parallel`."""

from __future__ import annotations

from typing import Any

import benchmarks.parallel
from benchmarks.common import command_line, result_path, store
from benchmarks.parallel.cases import all_cases, quick_cases
from benchmarks.parallel.compare import compared, largest
from benchmarks.parallel.page import COUNTS, NAME, result, stored_rows


def run() -> None:
    """Compares all cases, and stores the differences for each number of processes as they come."""
    from sadm.core.provenance import provenance

    for count in COUNTS:
        if not result_path(NAME, result(count)).exists():
            store(NAME, result(count), {"rows": compared(all_cases(), count), "provenance": provenance()})


def quick() -> dict[str, Any]:
    """One spawn of two processes."""
    return largest(compared(quick_cases(), 2))


def summary() -> dict[str, Any]:
    """The largest stored differences, and every case."""
    rows = stored_rows()
    if not rows:
        raise SystemExit(f"no stored result: run python -m benchmarks.{NAME} --run")
    return {**largest(rows), "cases": len(rows), "rows": rows}


if __name__ == "__main__":
    command_line(
        benchmarks.parallel.__doc__, run, summary, quick, "compare two processes with one in a few cases, print as JSON"
    )
