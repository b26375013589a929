"""The command line of `benchmarks.fuzz`."""

from __future__ import annotations

import dataclasses
import resource
import sys

import benchmarks.fuzz
from benchmarks.common import command_line_of_parts, result_path, store
from benchmarks.fuzz.page import NAME, PROVENANCE, summary
from benchmarks.fuzz.targets import TARGETS

_MEMORY = 16 << 30  # bytes of addresses: what asks for more than any machine has fails here, too


def run(names: list[str]) -> None:
    """The targets that have no stored result of as many inputs; exits with 1 where anything failed."""
    from benchmarks.fuzz.running import fuzz
    from sadm.core.provenance import provenance

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    failures = 0
    for name in names:
        target = TARGETS[name]
        if not result_path(NAME, name).exists():
            found = fuzz(target, target.inputs)
            store(NAME, name, {**dataclasses.asdict(found), PROVENANCE: provenance()})
            print(f"{name}: {found.inputs} inputs, {len(found.failures)} failures", file=sys.stderr, flush=True)
            failures += len(found.failures)
    if failures:
        raise SystemExit(1)


if __name__ == "__main__":
    command_line_of_parts(benchmarks.fuzz.__doc__, list(TARGETS), run, summary)
