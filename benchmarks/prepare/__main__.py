"""The command line of `benchmarks.prepare`."""

from __future__ import annotations

from typing import Any

import benchmarks.prepare
from benchmarks.common import command_line, rounded, store, stored
from benchmarks.prepare.page import NAME


def run() -> dict[str, Any]:
    """At full length."""
    from benchmarks.prepare.measure import FULL, measure

    found: dict[str, Any] = rounded(measure(FULL))
    store(NAME, "result", found)
    return found


def quick() -> Any:
    """A smaller search."""
    from benchmarks.prepare.measure import QUICK, measure

    return rounded(measure(QUICK))


if __name__ == "__main__":
    command_line(
        benchmarks.prepare.__doc__,
        run,
        lambda: stored(NAME, "result"),
        quick,
        "print what a smaller search finds as JSON, within 50 s",
    )
