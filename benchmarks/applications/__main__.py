"""The command line of `benchmarks.applications`."""

from __future__ import annotations

import functools

import benchmarks.applications
from benchmarks.applications.augment import CASES, run_augment
from benchmarks.applications.defects import run_defects
from benchmarks.applications.page import summary
from benchmarks.applications.restore import run_restore
from benchmarks.common import command_line_of_parts

PARTS = {
    "defects": run_defects,
    **{name: functools.partial(run_augment, name) for name in CASES},
    "restore": run_restore,
}


def run(parts: list[str]) -> None:
    """Runs parts in the order given."""
    for part in parts:
        PARTS[part]()


if __name__ == "__main__":
    command_line_of_parts(benchmarks.applications.__doc__, [*PARTS], run, summary)
