"""The command line of `benchmarks.monitor`."""

from __future__ import annotations

import sys
from typing import Any

import benchmarks.monitor
from benchmarks.common import RUNS, command_line, rounded, store, stored
from benchmarks.monitor.page import NAME, summary


def run() -> dict[str, Any]:
    """All sets."""
    from benchmarks.monitor.measure import FULL, measure

    found = rounded(measure(FULL, RUNS / NAME, lambda text: print(text, file=sys.stderr, flush=True)))
    store(NAME, "result", found)
    return summary(found)


if __name__ == "__main__":
    command_line(benchmarks.monitor.__doc__, run, lambda: summary(stored(NAME, "result")))
