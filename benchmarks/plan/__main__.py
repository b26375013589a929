"""The command line of `benchmarks.plan`."""

from __future__ import annotations

import sys
from typing import Any

import benchmarks.plan
from benchmarks.common import command_line, result_path, rounded, store, stored
from benchmarks.plan.page import NAME, summary


def run() -> dict[str, Any]:
    """All rounds that are missing, each stored when it is there."""
    from benchmarks.plan.measure import measure

    found = stored(NAME, "result") if result_path(NAME, "result").exists() else {}
    for more in measure(found, lambda text: print(text, file=sys.stderr, flush=True)):
        store(NAME, "result", rounded(more))
    return summary(stored(NAME, "result"))


if __name__ == "__main__":
    command_line(benchmarks.plan.__doc__, run, lambda: summary(stored(NAME, "result")))
