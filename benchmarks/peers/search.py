"""The search, alike for everyone, with the same short budget for each training but the last.

1. three sizes x three learning rates, and where the best rate is at the edge, the next ones beyond it, as long as each is better;
2. of the best of these, each variant alone;
3. the variants that help, the best two together, and all of them together;
4. of the best of these once more the two other sizes and the next learning rates, for a choice may ask for others;
5. of the best of all, trained once more for `SAMPLER_BUDGET`, the samplers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.common import result_path, store, stored
from benchmarks.peers.contestant import Contestant, find
from benchmarks.peers.plan import (
    FOLLOWS,
    LEARNING_RATES,
    LEAST_GAIN,
    MOST_BEYOND,
    NAME,
    SAMPLER_BUDGET,
    SEARCH_BUDGET,
    SEARCH_SEED,
    SIZES,
    STORED_SEARCH,
    Job,
    search_jobs,
)
from benchmarks.peers.scores import Result, excess, score
from benchmarks.peers.study import Study
from sadm.training.net_config import DIT_ALONE


def run_search(study: Study, contestants: Sequence[str]) -> None:
    """Searches for these contestants one after another, and stores what was found beside what is stored of others."""
    names, missing = study.available(list(dict.fromkeys(FOLLOWS.get(name, name) for name in contestants)))
    for name, reason in missing.items():
        _store(missing={name: reason})
    for name in names:
        _store(found={name: search(study, name)})
        study.forget(name)


def run_samplers(study: Study, contestants: Sequence[str]) -> None:
    """Chooses the sampler of those whose search is stored and was not followed by that yet."""
    names, _ = study.available(list(dict.fromkeys(FOLLOWS.get(name, name) for name in contestants)))
    known = stored_search()["contestants"]
    found = {name: known[name] for name in names if name in known}
    waiting = [name for name in found if found[name].get("sampler_minutes") != SAMPLER_BUDGET]
    study.run(dict(sampler_order(name, found[name]) for name in waiting))  # of all, so that no processor is idle
    for name in waiting:
        _store(found={name: with_sampler(study, name, found[name])})
        study.forget(name)


def with_sampler(study: Study, name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a search, with the sampler that is best for what it found."""
    job, samplers = sampler_order(name, found)
    final = study.run({job: samplers})[job]
    scores = {sampler: score(excess(final, sampler)) for sampler in samplers}
    return {
        **found,
        "sampler": min(scores, key=lambda sampler: scores[sampler]),
        "sampler_minutes": SAMPLER_BUDGET,
        "samplers": {sampler: {**final["judged"][sampler], "excess": excess(final, sampler)} for sampler in samplers},
        "generated": final["generated"],
        "versions": final["training"]["versions"],
        "provenance": final["training"]["provenance"],
    }


def sampler_order(name: str, found: Mapping[str, Any]) -> tuple[Job, list[str]]:
    """The training by which a contestant's sampler is chosen, and the samplers to draw with."""
    return found_job(name, found, SEARCH_SEED, SAMPLER_BUDGET), list(find(name).samplers)


def found_job(name: str, found: Mapping[str, Any], seed: int, minutes: float) -> Job:
    """A training of what was found for a contestant, with that budget in CPU-minutes."""
    return Job(name, found["size"], found["learning_rate"], seed, 60 * minutes, tuple(found["variants"]))


def stored_search() -> dict[str, Any]:
    """What is stored of all searches; without contestants where nothing is."""
    if not result_path(NAME, STORED_SEARCH).exists():
        return {"contestants": {}, "missing": {}}
    found: dict[str, Any] = stored(NAME, STORED_SEARCH)
    return found


def search(study: Study, name: str) -> dict[str, Any]:
    """What is kept of a contestant's search.

    Raises:
        UserError: every training of the grid diverged.
    """
    contestant = find(name)
    first = next(iter(contestant.samplers))
    results = study.run({job: [first] for job in search_jobs([name])})
    for _ in range(MOST_BEYOND):
        beyond = beyond_edge(best_job(results, name, first), results)
        if beyond is None:
            break
        results.update(study.run({beyond: [first]}))
    base = best_job(results, name, first)

    def together(choices: Sequence[tuple[str, ...]]) -> None:
        results.update(study.run({dataclasses.replace(base, variants=choice): [first] for choice in choices}))

    together([(variant,) for variant in contestant.variants])
    scores = {job: score(excess(result, first)) for job, result in results.items()}
    gains = {
        variant: scores[base] - scores[dataclasses.replace(base, variants=(variant,))]
        for variant in contestant.variants
    }
    together(combinations(contestant, gains))
    results.update(study.run({job: [first] for job in neighbours(best_job(results, name, first), results)}))
    return with_sampler(study, name, entry(results, base, best_job(results, name, first), first))


def beyond_edge(job: Job, tried: Iterable[Job]) -> Job | None:
    """The job at the next learning rate where its own is the lowest or the highest of those tried; None within."""
    lowest, highest = _edges(tried)
    if job.learning_rate not in (lowest, highest):
        return None
    return dataclasses.replace(
        job, learning_rate=next_rate(job.learning_rate, -1 if job.learning_rate == lowest else 1)
    )


def next_rate(rate: float, steps: int) -> float:
    """The learning rate some steps further on the ladder of `LEARNING_RATES`."""
    first, factor = LEARNING_RATES[0], LEARNING_RATES[1] / LEARNING_RATES[0]
    place = round(math.log(rate / first, factor)) + steps
    return float(f"{first * factor**place:.3g}")


def neighbours(best: Job, tried: Iterable[Job]) -> list[Job]:
    """The best job with the other sizes, and at the next learning rate on either side; without those that were tried."""
    others = [dataclasses.replace(best, learning_rate=next_rate(best.learning_rate, step)) for step in (-1, 1)]
    others += [dataclasses.replace(best, size=size) for size in SIZES if size != best.size]
    return [job for job in others if job not in set(tried)]


def combinations(contestant: Contestant, gains: Mapping[str, float]) -> list[tuple[str, ...]]:
    """Variants to be tried together: the best two of those that help, and all of them.

    Of two that change the same setting, the better one counts.

    Args:
        contestant: whose variants these are.
        gains: by how much each lowers the score, alone.
    """
    helpful: list[str] = []
    taken: set[str] = set()
    for variant in sorted(gains, key=lambda name: -gains[name]):
        settings = set(_settings(contestant.variants[variant]))
        if gains[variant] >= LEAST_GAIN and not settings & taken:
            helpful.append(variant)
            taken |= settings
    return list(dict.fromkeys(tuple(chosen) for chosen in (helpful[:2], helpful) if len(chosen) > 1))


def _settings(changes: Mapping[str, Any], place: str = "") -> Iterator[str]:
    for key, value in changes.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{place}{key}.")
        elif f"{place}{key}" == "net.kind":
            yield from ("net.kind", *(f"net.{name}" for name in DIT_ALONE))  # which mean nothing to the other kind
        else:
            yield f"{place}{key}"


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


def entry(results: Mapping[Job, Result], base: Job, best: Job, first: str) -> dict[str, Any]:
    """What is kept of a contestant's search, without its sampler.

    Args:
        results: of all its jobs, judged with the sampler `first`.
        base: the best size and learning rate.
        best: of all jobs.
        first: a sampler's name.
    """
    facts = ("parameters", "steps", "images_seen", "cpu_seconds", "diverged")
    where = ("commit", "machine")
    rows = [
        {
            "size": job.size,
            "learning_rate": job.learning_rate,
            "variants": list(job.variants),
            "excess": excess(result, first),
            **{key: result["training"][key] for key in facts},
            **{key: result["training"]["provenance"][key] for key in where},
            "interruptions_a_second": result["training"].get("interruptions_a_second"),
        }
        for job, result in results.items()
    ]
    return {
        "size": best.size,
        "learning_rate": best.learning_rate,
        "learning_rate_at_edge": best.learning_rate in _edges(job for job in results if job.variants == best.variants),
        "variants": list(best.variants),
        "grid": {"size": base.size, "learning_rate": base.learning_rate},
        "rows": rows,
    }


def _edges(tried: Iterable[Job]) -> tuple[float, float]:
    """The lowest and the highest learning rate that was tried."""
    rates = [job.learning_rate for job in tried]
    return min(rates), max(rates)


def _store(found: Mapping[str, Any] | None = None, missing: Mapping[str, str] | None = None) -> None:
    found, missing = found or {}, missing or {}
    before = stored_search()
    store(
        NAME,
        STORED_SEARCH,
        {
            "budget_cpu_minutes": SEARCH_BUDGET,
            "seed": SEARCH_SEED,
            "contestants": before["contestants"] | found,
            "missing": {name: reason for name, reason in before["missing"].items() if name not in found} | missing,
        },
    )
