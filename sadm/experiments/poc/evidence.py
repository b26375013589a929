"""How sure it is that structure guidance pays in one of several domains, and what would decide the others.

Every domain is looked at by several judges with the same paired seeds; values are log-ratios of FD - floor, structure-guided over
plain, so that smaller is better.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from sadm.core.intervals import CONFIDENCE

POWER = 0.8
SPREAD_BOUND = 0.8
"""Chance that the spread which a power calculation reckons with is no smaller than the true one (Browne 1995)."""
_GRID = 2000
_WIDEST = 10.0  # times the largest scale in the data that the spread over domains may have

Logs = Mapping[str, Sequence[float]]
"""By deciding judge, a log-ratio for each paired seed."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean log-ratio with its standard deviation."""

    mean: float
    sd: float

    @property
    def bounds(self) -> tuple[float, float]:
        """The central 95 %, taken as Gaussian."""
        half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * self.sd
        return self.mean - half, self.mean + half


@dataclasses.dataclass(frozen=True)
class Spread:
    """Standard deviation of the log-ratio between paired seeds, pooled over domains.

    Attributes:
        sd: the estimate.
        freedom: degrees of freedom that it rests on.
    """

    sd: float
    freedom: int

    @property
    def bound(self) -> float:
        """Upper bound at a one-sided level of `SPREAD_BOUND`: few pilot seeds underestimate spreads easily (Browne 1995)."""
        return self.sd * math.sqrt(self.freedom / float(stats.chi2.ppf(1 - SPREAD_BOUND, self.freedom)))


def p_value(logs: Logs) -> float:
    """Two-sided p-value that one domain differs in every judge, on the same side.

    The intersection-union test (Berger 1982): for each side the largest of the judges' one-sided p-values, of the smaller side
    twice. It is below 5 % exactly where every judge's 95 % interval lies on one side of 0. 1 for a single seed or no judge.
    """
    values = [np.asarray(by_seed, float) for by_seed in logs.values()]
    if not values or min(map(len, values)) < 2:
        return 1.0
    below, above = [], []
    for by_seed in values:
        error = float(by_seed.std(ddof=1)) / math.sqrt(len(by_seed))
        mean = float(by_seed.mean())
        t = mean / error if error > 0 else math.copysign(math.inf, mean) if mean else 0.0
        below.append(float(stats.t.cdf(t, len(by_seed) - 1)))
        above.append(float(stats.t.sf(t, len(by_seed) - 1)))
    return min(1.0, 2 * min(max(below), max(above)))


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for having looked at all of them (Holm 1979): below 5 % all hold together at 5 %."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, largest = [1.0] * len(values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - place) * values[index]))
        adjusted[index] = largest
    return adjusted


def pooled_spread(domains: Sequence[Sequence[float]]) -> Spread | None:
    """Spread between paired seeds, the same in all domains; None where no domain has two seeds."""
    known = [np.asarray(values, float) for values in domains if len(values) > 1]
    freedom = sum(len(values) - 1 for values in known)
    if not freedom:
        return None
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in known)
    return Spread(math.sqrt(squares / freedom), freedom)


def shrunken(means: Sequence[float], errors: Sequence[float]) -> list[Estimate] | None:
    """What each domain is to be expected to show again: estimates drawn to their common mean.

    The normal hierarchical model with flat priors on the common mean and on the spread between domains, integrated over both
    (Gelman et al., Bayesian Data Analysis, 3rd ed., section 5.4). The best of several raw estimates is too good on average, since
    luck helped to choose it; of these it is much less so.

    Args:
        means: mean log-ratio of each domain.
        errors: standard error of each, above 0.

    Returns:
        None for fewer than three domains: two say nothing about how much domains differ.
    """
    if len(means) < 3:
        return None
    y, v = np.asarray(means, float), np.asarray(errors, float) ** 2
    scale = max(float(y.std(ddof=1)), float(np.sqrt(v.max())))
    tau2 = (np.linspace(0, _WIDEST * scale, _GRID)[:, None]) ** 2  # [G, 1]
    w = 1 / (v + tau2)  # [G, J]
    centre_variance = 1 / w.sum(1)  # [G], of the common mean
    centre = (w * y).sum(1) * centre_variance
    log = 0.5 * np.log(centre_variance) + 0.5 * np.log(w).sum(1) - 0.5 * (w * (y - centre[:, None]) ** 2).sum(1)
    weight = np.exp(log - log.max())
    weight[[0, -1]] /= 2  # the trapezoid rule
    weight /= weight.sum()
    pull = v * w  # [G, J], share of the common mean
    mean = (1 - pull) * y + pull * centre[:, None]
    variance = (1 - pull) * v + pull**2 * centre_variance[:, None]
    expected = (weight[:, None] * mean).sum(0)
    spread = (weight[:, None] * (variance + (mean - expected) ** 2)).sum(0)
    return [Estimate(float(m), float(s)) for m, s in zip(expected, np.sqrt(spread), strict=True)]


def power(effect: float, sd: float, seeds: int, confidence: float = CONFIDENCE) -> float:
    """Chance that a Student interval over `seeds` paired seeds lies on the effect's side of 0, from the noncentral t."""
    if seeds < 2:
        return 0.0
    critical = float(stats.t.ppf((1 + confidence) / 2, seeds - 1))
    if sd <= 0:
        return 1.0 if effect else 0.0
    return float(stats.nct.sf(critical, seeds - 1, abs(effect) / sd * math.sqrt(seeds)))


def seeds_needed(effects: Sequence[float], spreads: Sequence[float], least: int, most: int) -> int | None:
    """Paired seeds with which every judge decides, with a chance of at least `POWER`.

    The chance that all do is bounded from below by 1 - (sum of the chances that one does not), however they depend on each other.

    Args:
        effects: true mean log-ratio in each judge.
        spreads: standard deviation between paired seeds in each.
        least: no fewer than these.
        most: no more.

    Returns:
        None where `most` are not enough, or the judges contradict each other.
    """
    if not (all(effect < 0 for effect in effects) or all(effect > 0 for effect in effects)):
        return None

    def sure(seeds: int) -> bool:
        return sum(1 - power(e, s, seeds) for e, s in zip(effects, spreads, strict=True)) <= 1 - POWER

    return next((seeds for seeds in range(max(least, 2), most + 1) if sure(seeds)), None)


def detectable(spread: float, judges: int, seeds: int) -> float:
    """The smallest mean log-ratio that `judges` judges of this spread decide with `seeds` paired seeds and chance `POWER`."""
    wanted = 1 - (1 - POWER) / judges
    low, high = 0.0, spread
    while power(high, spread, seeds) < wanted:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle, spread, seeds) < wanted else (low, middle)
    return high


def averaged(logs: Logs) -> list[float]:
    """One log-ratio for each seed, the mean over judges."""
    return [sum(values) / len(values) for values in zip(*logs.values(), strict=True)]
