"""Intervals over seeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from scipy import stats

CONFIDENCE = 0.95
AT_THE_FLOOR = "at the floor"


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean with its 95 % Student interval; the bounds are None where one value alone gives none.

    Attributes:
        mean: of the values (for ratios: the geometric mean).
        low: lower bound.
        high: upper bound.
        values: one for each seed.
    """

    mean: float
    low: float | None
    high: float | None
    values: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "values": list(self.values)}


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean and Student interval of independent values.

    Raises:
        ValueError: no value.
    """
    count = len(values)
    if not count:
        raise ValueError("an interval needs at least one value")
    mean = sum(values) / count
    if count == 1:
        return Interval(mean, None, None, tuple(values))
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * math.sqrt(variance / count)
    return Interval(mean, mean - half, mean + half, tuple(values))


def paired_ratio(treatment: Sequence[float], control: Sequence[float]) -> Interval | None:
    """Geometric mean of the ratios treatment / control over paired seeds, with the interval of the mean log-ratio.

    Args:
        treatment: one value for each seed, floor subtracted.
        control: the same seeds' values.

    Returns:
        None where a value is not positive: that arm is at the floor, and a ratio has no meaning.

    Raises:
        ValueError: unequal numbers of seeds.
    """
    if len(treatment) != len(control):
        raise ValueError(f"paired seeds: {len(treatment)} values against {len(control)}")
    if min(*treatment, *control) <= 0:
        return None
    logs = mean_interval([math.log(a / b) for a, b in zip(treatment, control, strict=True)])
    low, high = (None if bound is None else math.exp(bound) for bound in (logs.low, logs.high))
    return Interval(math.exp(logs.mean), low, high, tuple(math.exp(value) for value in logs.values))


def outcome(ratios: Sequence[Interval | None]) -> str:
    """The verdict over the deciding judges' ratios treatment / control, by a rule fixed beforehand.

    Returns:
        ``sadm`` or ``plain`` where every interval lies on that side of 1, ``mixed`` where judges contradict each other with
        intervals on both sides, else ``undecided``.
    """
    better = [r is not None and r.high is not None and r.high < 1 for r in ratios]
    worse = [r is not None and r.low is not None and r.low > 1 for r in ratios]
    if ratios and all(better):
        return "sadm"
    if ratios and all(worse):
        return "plain"
    return "mixed" if any(better) and any(worse) else "undecided"
