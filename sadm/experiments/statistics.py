"""Intervals over paired seeds: of ratios, of what a quality costs, of several regimes together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

from sadm.core.intervals import CONFIDENCE, Interval, mean_interval

AT_THE_FLOOR, DIVERGED = "at the floor", "a run diverged"


@dataclasses.dataclass(frozen=True)
class Missing:
    """No ratio, and the reason why."""

    reason: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"mean": None, "reason": self.reason}


@dataclasses.dataclass(frozen=True)
class Reach:
    """The share of the control's cost at which an arm is as good as the control at its full cost.

    Attributes:
        mean: that share; None where it lies outside of what was measured.
        outside: ``<`` where the cheapest training measured is good enough already, ``>`` where the dearest is not.
        limit: the share that ``outside`` refers to.
        low: the same for the lower bounds of the ratios' 95 % intervals; None outside of what was measured.
        high: for the upper bounds.
    """

    mean: float | None
    outside: Literal["<", ">"] | None
    limit: float | None
    low: float | None
    high: float | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


def paired_ratio(
    treatment: Sequence[float], control: Sequence[float], confidence: float = CONFIDENCE
) -> Interval | Missing:
    """Geometric mean of the ratios treatment / control over paired seeds, with the interval of the mean log-ratio.

    Args:
        treatment: one value for each seed, floor subtracted.
        control: the same seeds' values.
        confidence: of the interval.

    Returns:
        `Missing` where a value is not positive: that arm is at the floor, and a ratio has no meaning.

    Raises:
        ValueError: unequal numbers of seeds.
    """
    if len(treatment) != len(control):
        raise ValueError(f"paired seeds: {len(treatment)} values against {len(control)}")
    if min(*treatment, *control) <= 0:
        return Missing(AT_THE_FLOOR)
    logs = [math.log(a / b) for a, b in zip(treatment, control, strict=True)]
    return _exponential(mean_interval(logs, confidence))


def geometric_mean(regimes: Mapping[str, Mapping[str, Sequence[float]]], confidence: float = CONFIDENCE) -> Interval:
    """One ratio over several regimes and judges, with its interval over paired seeds.

    The rule: for each seed, the log-ratios are averaged over the judges of a regime and then over regimes, so that every
    regime counts alike whatever the number of its judges; mean and Student interval are taken over these numbers, one for
    each seed. Regimes and judges are fixed, seeds are what varies: the interval speaks of these regimes, not of others.

    Args:
        regimes: by regime and judge, the ratios treatment / control of the paired seeds, in the same order of seeds everywhere.
        confidence: of the interval.

    Raises:
        ValueError: no ratio, unequal numbers of seeds, or a ratio that is not positive and finite.
    """
    lengths = {f"{regime}/{judge}": len(values) for regime, by in regimes.items() for judge, values in by.items()}
    if not regimes or not all(regimes.values()) or len(set(lengths.values())) != 1:
        raise ValueError(
            f"every judge of every regime needs a ratio for the same seeds, got numbers of ratios {lengths}"
        )
    for regime, by in regimes.items():
        for judge, values in by.items():
            if not all(0 < value < math.inf for value in values):
                raise ValueError(f"ratios must be positive and finite, got {list(values)} in {regime}/{judge}")
    count = next(iter(lengths.values()))
    return _exponential(
        mean_interval(
            [
                _mean([_mean([math.log(values[seed]) for values in by.values()]) for by in regimes.values()])
                for seed in range(count)
            ],
            confidence,
        )
    )


def cost_to_reach(ratios: Mapping[float, Interval]) -> Reach:
    """Where an arm becomes as good as the control's full training, by interpolation between the costs that were measured.

    Args:
        ratios: by the arm's cost as a share of the control's full cost, the paired ratio of (FD - floor) of the arm at that
            cost over that of the control at its full cost.

    Returns:
        The smallest share at which the ratio falls to 1, the logarithm of the ratio running straight between neighbours over
        the logarithm of the share; its bounds, the same for the bounds of the ratios.

    Raises:
        ValueError: nothing was measured.
    """
    if not ratios:
        raise ValueError("no cost was measured")

    def crossing(bound: Callable[[Interval], float | None]) -> float | Literal["<", ">"] | None:
        points = [(share, bound(ratios[share])) for share in sorted(ratios)]
        known = [(math.log(share), math.log(value)) for share, value in points if value is not None]
        return _first_crossing(known) if len(known) == len(points) else None

    mean, low, high = (crossing(bound) for bound in (lambda r: r.mean, lambda r: r.low, lambda r: r.high))
    outside: Literal["<", ">"] | None = mean if isinstance(mean, str) else None
    limit = None if outside is None else min(ratios) if outside == "<" else max(ratios)
    return Reach(_number(mean), outside, limit, _number(low), _number(high))


def _first_crossing(points: Sequence[tuple[float, float]]) -> float | Literal["<", ">"]:
    """The share at which points (log share, log ratio), in order of share, first come down to log ratio 0."""
    if points[0][1] <= 0:
        return math.exp(points[0][0]) if points[0][1] == 0 else "<"
    for (x, y), (next_x, next_y) in pairwise(points):
        if next_y <= 0:
            return math.exp(x + (next_x - x) * y / (y - next_y))
    return ">"


def outcome(ratios: Sequence[Interval | Missing]) -> str:
    """The verdict over the deciding judges' ratios treatment / control, by a rule fixed beforehand.

    Returns:
        ``better`` or ``worse`` where every interval lies on that side of 1 (smaller is better), ``mixed`` where judges
        contradict each other with intervals on both sides, else ``undecided``.
    """
    better = [isinstance(r, Interval) and r.high is not None and r.high < 1 for r in ratios]
    worse = [isinstance(r, Interval) and r.low is not None and r.low > 1 for r in ratios]
    if ratios and all(better):
        return "better"
    if ratios and all(worse):
        return "worse"
    return "mixed" if any(better) and any(worse) else "undecided"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _exponential(logs: Interval) -> Interval:
    low, high = (None if bound is None else math.exp(bound) for bound in (logs.low, logs.high))
    return Interval(math.exp(logs.mean), low, high, tuple(math.exp(value) for value in logs.values))


def _number(value: float | str | None) -> float | None:
    return None if isinstance(value, str) else value
