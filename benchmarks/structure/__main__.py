"""The command line of `benchmarks.structure`."""

from __future__ import annotations

import benchmarks.structure
from benchmarks.common import command_line_of_parts, result_path, store
from benchmarks.structure import claims
from benchmarks.structure.pairs import ALL, run_pairs
from benchmarks.structure.regimes import REGIMES
from benchmarks.structure.relations import run_relations
from benchmarks.structure.summary import summary
from benchmarks.structure.trainings import NAME, run_regime
from benchmarks.structure.variants import TABLES, run_variants

PARTS = ["flops", "search", *REGIMES, *ALL, "relations", *TABLES]


def run(parts: list[str]) -> None:
    """Runs parts in the order given; what is stored is not run again."""
    for part in parts:
        if part == "flops":
            from benchmarks.structure.flops import flop_overhead

            store(NAME, "flops", flop_overhead())
        elif part == "search":
            from benchmarks.structure.search import run_search

            run_search()
        elif result_path(NAME, part).exists():
            continue
        elif part == "relations":
            run_relations()
        elif part in TABLES:
            run_variants(part)
        elif part in ALL:
            run_pairs(part)
        else:
            run_regime(part)


if __name__ == "__main__":
    command_line_of_parts(benchmarks.structure.__doc__, PARTS, run, summary, claims.claim_of, claims.PARTS)
