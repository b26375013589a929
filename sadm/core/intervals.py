"""Means with intervals."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from scipy import stats

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean with its interval, 95 % and Student's unless said otherwise; the bounds are None where one value alone gives none.

    Attributes:
        mean: of the values (for ratios: the geometric mean).
        low: lower bound.
        high: upper bound.
        values: what it is the mean of, such as one for each seed.
    """

    mean: float
    low: float | None
    high: float | None
    values: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "values": list(self.values)}


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Mean and Student interval, at a level of `confidence`, of independent values.

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
    half = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * math.sqrt(variance / count)
    return Interval(mean, mean - half, mean + half, tuple(values))
