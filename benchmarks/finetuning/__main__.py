"""The command line of `benchmarks.finetuning`."""

from __future__ import annotations

import argparse

import benchmarks.finetuning
from benchmarks.finetuning.search import run_rates

PARTS = {"rates": run_rates}


def main() -> None:
    """Parses and runs."""
    parser = argparse.ArgumentParser(
        description=benchmarks.finetuning.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--run", action="store_true", help="train what is missing and store the results; resumable")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts alone")
    options = parser.parse_args()
    for part in options.only or PARTS:
        PARTS[part]()


if __name__ == "__main__":
    main()
