"""The command line of `benchmarks.peers`."""

from __future__ import annotations

import argparse
import json
import os
import sys

import benchmarks.peers
from benchmarks.peers.plan import BUDGETS, CONTESTANTS, REPORT, SEARCH, Setting


def main(arguments: list[str] | None = None) -> int:
    """Parses and runs; returns the exit code."""
    from sadm.core.errors import InterruptedRun, UserError

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=benchmarks.peers.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--search", action="store_true", help="search size, learning rate and sampler; resumable")
    action.add_argument(
        "--run", action="store_true", help="train what the search chose and store the results; resumable"
    )
    action.add_argument(
        "--samplers",
        action="store_true",
        help="choose samplers anew for searches from before that came last; resumable",
    )
    action.add_argument("--summary", action="store_true", help="print the stored results as JSON")
    action.add_argument("--quick", action="store_true", help="a smoke test of every contestant; stores nothing")
    action.add_argument("--verify", metavar="NAME", choices=CONTESTANTS, help="train a stored job of the report anew")
    parser.add_argument("--seed", type=int, help="with --verify: of which seed; by default the first")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=CONTESTANTS, help=f"of {', '.join(CONTESTANTS)}")
    parser.add_argument("--budgets", nargs="+", type=float, choices=BUDGETS, default=list(BUDGETS), help="CPU-minutes")
    parser.add_argument("--jobs", type=int, default=max(1, min(2, os.cpu_count() or 1)), help="processes at a time")
    options = parser.parse_args(arguments)
    if options.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {options.jobs}")
    try:
        return act(options, options.only or list(CONTESTANTS))
    except InterruptedRun as stopped:
        print(stopped, file=sys.stderr)
        return 130
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def act(options: argparse.Namespace, names: list[str]) -> int:
    """Does what was asked for; returns the exit code."""
    if options.summary:
        from benchmarks.peers.summary import summary

        print(json.dumps(summary(), indent=1))
        return 0
    import torch

    from benchmarks.peers.quick import run_quick
    from benchmarks.peers.report import run_report
    from benchmarks.peers.search import run_samplers, run_search
    from benchmarks.peers.study import Study
    from benchmarks.peers.verifying import VERIFY, verify
    from sadm.core.progress import ConsoleReporter

    torch.set_num_threads(1)
    with ConsoleReporter() as reporter:

        def study(setting: Setting) -> Study:
            return Study(setting, options.jobs, reporter)

        if options.search:
            run_search(study(SEARCH), names)
        elif options.samplers:
            run_samplers(study(SEARCH), names)
        elif options.run:
            run_report(study(REPORT), names, options.budgets)
        elif options.verify:
            found = verify(study(VERIFY), options.verify, min(options.budgets), options.seed)
            print(json.dumps(found, indent=1))
            return 0 if found["within"] else 1
        else:
            print(json.dumps(run_quick(names, options.jobs, reporter), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
