"""The command line of `benchmarks.finetuning`."""

from __future__ import annotations

import argparse
import json
from functools import partial

import benchmarks.finetuning
from benchmarks.finetuning.cells import run_cells
from benchmarks.finetuning.grid import CHOSEN
from benchmarks.finetuning.search import run_forms, run_rates
from benchmarks.finetuning.shapes import run_shapes
from benchmarks.finetuning.summary import summary

PARTS = {"shapes": run_shapes, "rates": run_rates, "forms": run_forms, "grid": partial(run_cells, CHOSEN)}


def main() -> None:
    """Parses and runs."""
    parser = argparse.ArgumentParser(
        description=benchmarks.finetuning.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--run", action="store_true", help="train what is missing and store the results; resumable")
    action.add_argument("--summary", action="store_true", help="print the stored results as JSON")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts alone")
    options = parser.parse_args()
    if options.summary:
        print(json.dumps(summary(), indent=1))
        return
    for part in options.only or PARTS:
        PARTS[part]()


if __name__ == "__main__":
    main()
