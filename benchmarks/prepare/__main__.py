"""The command line of `benchmarks.prepare`."""

from __future__ import annotations

import argparse
import json

import benchmarks.prepare
from benchmarks.common import rounded, store, stored
from benchmarks.prepare.page import NAME


def main() -> None:
    """Parses and runs."""
    parser = argparse.ArgumentParser(
        description=benchmarks.prepare.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--quick", action="store_true", help="print what a smaller search finds as JSON, within 50 s")
    action.add_argument("--run", action="store_true", help="measure at full length and store the result")
    action.add_argument("--summary", action="store_true", help="print the stored result as JSON")
    options = parser.parse_args()
    if options.summary:
        print(json.dumps(stored(NAME, "result"), indent=1))
        return
    from benchmarks.prepare.measure import FULL, QUICK, measure

    found = rounded(measure(QUICK if options.quick else FULL))
    if options.run:
        store(NAME, "result", found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
