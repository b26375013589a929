"""Which domain stands where, how sure that is, and how many more paired seeds would decide the open ones."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sadm.core.intervals import CONFIDENCE, Interval, mean_interval
from sadm.experiments.poc.evidence import (
    Estimate,
    Logs,
    averaged,
    detectable,
    holm,
    p_value,
    pooled_spread,
    seeds_needed,
    shrunken,
)

PAYS, OPEN, NOT = "pays", "open", "not"
PLACES = {"better": PAYS, "worse": NOT}
"""Where a comparison's outcome puts a domain; any other is open."""
MOST_TO_DECIDE = 50
"""Paired seeds, beyond which nothing is planned."""
SEEN, MATTERS = "seen", "matters"


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a comparison found in one domain.

    Attributes:
        name: of the domain.
        outcome: of the comparison (see `sadm.experiments.statistics.outcome`).
        logs: by deciding judge, a log-ratio for each seed; empty where some judge has none.
        seeds: paired seeds.
    """

    name: str
    outcome: str
    logs: Logs
    seeds: int


@dataclasses.dataclass(frozen=True)
class Step:
    """What would decide a domain.

    Attributes:
        basis: `SEEN` where the estimate is what is planned for, `MATTERS` where the smallest change that is worth knowing is.
        effects: by judge, the mean log-ratio that is planned for.
        spreads: by judge, the standard deviation between paired seeds that is reckoned with.
        seeds: paired seeds in all; None where `MOST_TO_DECIDE` are not enough.
        detectable: the mean log-ratio that `MOST_TO_DECIDE` would decide.
    """

    basis: str
    effects: dict[str, float]
    spreads: dict[str, float]
    seeds: int | None
    detectable: float


@dataclasses.dataclass(frozen=True)
class Standing:
    """Where a domain stands.

    Attributes:
        measured: what was found.
        place: `PAYS`, `OPEN` or `NOT`.
        estimate: mean log-ratio over judges, with its interval over seeds; None where there is none.
        expected: what is to be expected of other seeds (see `shrunken`); None with fewer than three domains.
        p: of this domain alone.
        p_all: allowing for all domains (Holm).
        step: what would decide it; None where it is decided or nothing can be said.
    """

    measured: Measured
    place: str
    estimate: Interval | None
    expected: Estimate | None
    p: float
    p_all: float
    step: Step | None

    @property
    def holds(self) -> bool:
        """Whether the verdict holds with all domains taken together."""
        return self.place != OPEN and self.p_all <= 1 - CONFIDENCE + 1e-12


def rank(domains: Sequence[Measured], matters: float) -> list[Standing]:
    """First where it pays, then what is open, then where it does not pay; in each from the best estimate to the worst.

    Args:
        domains: what was measured.
        matters: the smallest change of FD - floor that is worth knowing, as a share.
    """
    values = [p_value(domain.logs) for domain in domains]
    estimates = [mean_interval(averaged(domain.logs)) if domain.logs else None for domain in domains]
    expected = _expected([averaged(domain.logs) if domain.logs else None for domain in domains])
    steps = _steps(domains, matters)
    standings = [
        Standing(domain, PLACES.get(domain.outcome, OPEN), estimate, likely, p, p_all, step)
        for domain, estimate, likely, p, p_all, step in zip(
            domains, estimates, expected, values, holm(values), steps, strict=True
        )
    ]
    order = (PAYS, OPEN, NOT)

    def key(standing: Standing) -> tuple[int, float]:
        return order.index(standing.place), math.inf if standing.estimate is None else standing.estimate.mean

    return sorted(standings, key=key)


def _expected(by_seed: Sequence[Sequence[float] | None]) -> list[Estimate | None]:
    """Shrunken estimates, where there are three at least; the others stay unknown."""
    known = [values for values in by_seed if values]
    spread = pooled_spread(known)
    drawn = None
    if spread is not None and spread.sd > 0:
        drawn = shrunken([sum(v) / len(v) for v in known], [spread.sd / math.sqrt(len(v)) for v in known])
    waiting = iter(drawn or [])
    return [next(waiting) if values and drawn else None for values in by_seed]


def _steps(domains: Sequence[Measured], matters: float) -> list[Step | None]:
    judges = list(dict.fromkeys(judge for domain in domains for judge in domain.logs))
    spreads = {
        judge: pooled_spread([domain.logs[judge] for domain in domains if judge in domain.logs]) for judge in judges
    }
    drawn = {
        judge: dict(
            zip(
                [domain.name for domain in domains if judge in domain.logs],
                _expected([domain.logs[judge] for domain in domains if judge in domain.logs]),
                strict=True,
            )
        )
        for judge in judges
    }

    def step(domain: Measured) -> Step | None:
        bounds = {judge: found.bound for judge in domain.logs if (found := spreads[judge]) is not None}
        if PLACES.get(domain.outcome, OPEN) != OPEN or not domain.logs or len(bounds) < len(domain.logs):
            return None
        effects = {}
        for judge, values in domain.logs.items():
            likely = drawn[judge][domain.name]
            effects[judge] = likely.mean if likely is not None else sum(values) / len(values)
        return decisive(effects, bounds, domain.seeds + 1, matters)

    return [step(domain) for domain in domains]


def decisive(effects: Mapping[str, float], spreads: Mapping[str, float], least: int, matters: float) -> Step:
    """How many paired seeds decide.

    Planned for is what was seen, as long as every judge sees it on the same side and as large as what matters; else a gain as
    large as that.

    Args:
        effects: by judge, mean log-ratio.
        spreads: by judge, standard deviation between paired seeds.
        least: no fewer seeds.
        matters: see `rank`.
    """
    worth = -math.log1p(-matters)
    seen = list(effects.values())
    one_side = all(value < 0 for value in seen) or all(value > 0 for value in seen)
    basis = SEEN if one_side and min(map(abs, seen)) >= worth else MATTERS
    planned = dict(effects) if basis == SEEN else dict.fromkeys(effects, -worth)
    widths = [spreads[judge] for judge in planned]
    seeds = seeds_needed(list(planned.values()), widths, least, MOST_TO_DECIDE)
    return Step(basis, planned, dict(spreads), seeds, detectable(max(widths), len(widths), MOST_TO_DECIDE))


def facts_of(standing: Standing) -> dict[str, Any]:
    """For JSON, with ratios in place of logarithms."""
    estimate, likely = standing.estimate, standing.expected
    low, high = (None, None) if estimate is None else (estimate.low, estimate.high)
    return {
        "place": standing.place,
        "outcome": standing.measured.outcome,
        "seeds": standing.measured.seeds,
        "estimate": None
        if estimate is None
        else {"mean": math.exp(estimate.mean), "low": _exp(low), "high": _exp(high)},
        "expected": None
        if likely is None
        else dict(zip(("low", "high"), map(math.exp, likely.bounds), strict=True)) | {"mean": math.exp(likely.mean)},
        "p": standing.p,
        "p_all": standing.p_all,
        "holds": standing.holds,
    }


def _exp(value: float | None) -> float | None:
    return None if value is None else math.exp(value)
