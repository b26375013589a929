"""The command line of `benchmarks.audit`."""

from __future__ import annotations

import sys
from typing import Any

import benchmarks.audit
from benchmarks.audit.page import NAME, summary
from benchmarks.common import command_line, rounded, store, stored


def run() -> dict[str, Any]:
    """All sets."""
    from benchmarks.audit.measure import FULL, measure

    found = rounded(measure(FULL, say))
    store(NAME, "result", found)
    return summary(found)


def quick() -> dict[str, Any]:
    """Digits alone."""
    from benchmarks.audit.measure import QUICK, measure

    return summary(rounded(measure(QUICK, say)))


def say(text: str) -> None:
    """Progress, beside the JSON."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    command_line(
        benchmarks.audit.__doc__,
        run,
        lambda: summary(stored(NAME, "result")),
        quick,
        "digits alone, within 50 s, as JSON",
    )
