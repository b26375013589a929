"""The command line of `benchmarks.audit`."""

from __future__ import annotations

import argparse
import json
import sys

import benchmarks.audit
from benchmarks.audit.page import NAME, summary
from benchmarks.common import rounded, store, stored


def main() -> None:
    """Parses and runs."""
    parser = argparse.ArgumentParser(
        description=benchmarks.audit.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--quick", action="store_true", help="digits alone, within 50 s, as JSON")
    action.add_argument("--run", action="store_true", help="measure all sets and store the result")
    action.add_argument("--summary", action="store_true", help="print recall and false alarms of the stored result")
    options = parser.parse_args()
    if options.summary:
        print(json.dumps(summary(stored(NAME, "result")), indent=1))
        return
    from benchmarks.audit.measure import FULL, QUICK, measure

    found = rounded(measure(QUICK if options.quick else FULL, lambda text: print(text, file=sys.stderr, flush=True)))
    if options.run:
        store(NAME, "result", found)
    print(json.dumps(summary(found), indent=1))


if __name__ == "__main__":
    main()
