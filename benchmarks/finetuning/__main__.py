"""The command line of `benchmarks.finetuning`."""

from __future__ import annotations

from functools import partial

import benchmarks.finetuning
from benchmarks.common import command_line_of_parts
from benchmarks.finetuning.cells import run_cells
from benchmarks.finetuning.curves import run_curves
from benchmarks.finetuning.grid import CHOSEN
from benchmarks.finetuning.search import run_forms, run_rates
from benchmarks.finetuning.shapes import run_shapes
from benchmarks.finetuning.summary import summary

PARTS = {
    "shapes": run_shapes,
    "rates": run_rates,
    "forms": partial(run_forms, "forms"),
    "grid": partial(run_cells, CHOSEN),
    "curves": partial(run_curves, CHOSEN),
    "more-forms": partial(run_forms, "more-forms"),
}


def run(parts: list[str]) -> None:
    """Runs parts in the order given."""
    for part in parts:
        PARTS[part]()


if __name__ == "__main__":
    command_line_of_parts(benchmarks.finetuning.__doc__, [*PARTS], run, summary)
