"""The command line of `benchmarks.data`."""

from __future__ import annotations

from typing import Any

import benchmarks.data
from benchmarks.common import command_line, result_name, rounded, store, stored
from benchmarks.data.page import NAME


def run() -> dict[str, Any]:
    """At full length."""
    from benchmarks.data.measure import FULL, measure

    found: dict[str, Any] = rounded(measure(FULL))
    store(NAME, result_name(), found)
    return found


def quick() -> Any:
    """A small folder."""
    from benchmarks.data.measure import QUICK, measure

    return rounded(measure(QUICK))


if __name__ == "__main__":
    command_line(
        benchmarks.data.__doc__,
        run,
        lambda: stored(NAME, result_name()),
        quick,
        "print rates of a small folder as JSON, within 50 s",
    )
