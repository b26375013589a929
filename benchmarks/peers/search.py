"""The search: three sizes x three learning rates for everyone with the same short budget, then the samplers of the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.common import result_path, store, stored
from benchmarks.peers.contestant import find
from benchmarks.peers.plan import LEARNING_RATES, NAME, SEARCH_BUDGET, SEARCH_SEED, STORED_SEARCH, Job, search_jobs
from benchmarks.peers.scores import Result, excess, score
from benchmarks.peers.study import Study


def run_search(study: Study, contestants: Sequence[str]) -> None:
    """Searches for these contestants, and stores what was found beside what is stored of others."""
    names, missing = study.available(contestants)
    first = {name: next(iter(find(name).samplers)) for name in names}
    results = study.run({job: [first[job.contestant]] for job in search_jobs(names)})
    best = {name: best_job(results, name, first[name]) for name in names}
    finals = study.run({job: list(find(name).samplers) for name, job in best.items()})
    before = (
        stored(NAME, STORED_SEARCH) if result_path(NAME, STORED_SEARCH).exists() else {"contestants": {}, "missing": {}}
    )
    found = {name: entry(name, results, finals[best[name]], best[name], first[name]) for name in names}
    kept = {name: reason for name, reason in before["missing"].items() if name not in found}
    store(
        NAME,
        STORED_SEARCH,
        {
            "budget_cpu_minutes": SEARCH_BUDGET,
            "seed": SEARCH_SEED,
            "generated": study.setting.samples,
            "contestants": before["contestants"] | found,
            "missing": kept | missing,
        },
    )


def best_job(results: Mapping[Job, Result], name: str, sampler: str) -> Job:
    """The contestant's job with the smallest score.

    Raises:
        UserError: all of them diverged.
    """
    from sadm.core.errors import UserError

    scores = {job: score(excess(result, sampler)) for job, result in results.items() if job.contestant == name}
    if not any(math.isfinite(value) for value in scores.values()):
        raise UserError(f"every training of {name} in the search diverged. Give it other learning rates.")
    return min(scores, key=lambda job: scores[job])


def entry(name: str, results: Mapping[Job, Result], final: Result, best: Job, first: str) -> dict[str, Any]:
    """What is kept of a contestant's search."""
    scores = {sampler: score(excess(final, sampler)) for sampler in find(name).samplers}
    chosen = min(scores, key=lambda sampler: scores[sampler])
    rows = []
    for job, result in results.items():
        if job.contestant == name:
            training = result["training"]
            rows.append(
                {
                    "size": job.size,
                    "learning_rate": job.learning_rate,
                    "excess": excess(result, first),
                    **{key: training[key] for key in ("parameters", "steps", "images_seen", "cpu_seconds", "diverged")},
                }
            )
    return {
        "size": best.size,
        "learning_rate": best.learning_rate,
        "learning_rate_at_edge": best.learning_rate in (LEARNING_RATES[0], LEARNING_RATES[-1]),
        "sampler": chosen,
        "rows": rows,
        "samplers": {
            sampler: {**final["judged"][sampler], "excess": excess(final, sampler)} for sampler in find(name).samplers
        },
        "versions": final["training"]["versions"],
        "provenance": final["training"]["provenance"],
    }
