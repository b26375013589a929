"""How many more real images would do what generated ones do.

The rule: two laws say how the error goes on falling with the number m of real images, each fitted by least squares, for each
seed, to what classifiers on parts of the real images got wrong; both go through the error e of all n of them.

- A power law, ``m^-b``, that never flattens (Hestness et al. 2017, arXiv 1712.00409): a gain of g is worth
  ``n ((e / (e - g))^(1 / b) - 1)`` images.
- ``c + a / m``, which falls as fast as errors of estimation do and flattens at what can't be learned: it is worth
  ``n (1 / (1 - g n / a) - 1)``.

Curves mostly lie between (Viering & Loog 2021, arXiv 2103.10948). The number told is halfway between both, on a logarithmic scale
of real images, and its interval holds those of both. Nothing is extrapolated farther beyond n, as a factor, than was measured
below.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sadm.core.intervals import Interval, mean_interval

NEGLIGIBLE = 0.1
"""A gain that is worth less than this share of the real images, either way, is none."""
BOUND = 0.975
"""Level of the intervals of gain and curve: both together hold at 95 %, whatever they have to do with each other (Bonferroni)."""
NO_CURVE = "it can't be told whether more real images help this classifier"
ONE_SEED = "one seed alone has no interval"


@dataclasses.dataclass(frozen=True)
class Worth:
    """Generated images in real ones.

    Attributes:
        outcome: ``gain`` and ``harm`` where the gain's interval lies on that side of 0; ``none`` where it does not, and all of
            it is worth less than a tenth of the real images; else ``undecided``.
        images: so many more real images do as much; below 0 = as if so many were lost. None where that can't be told.
        low: lower bound, 95 %. A bound at `farthest` or `fewest` means that or beyond.
        high: upper bound.
        farthest: the most that is extrapolated to.
        fewest: the least that was measured, below 0.
        reason: why `images` is None.
    """

    outcome: str
    images: float | None
    low: float | None
    high: float | None
    farthest: float
    fewest: float
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Law:
    """How error falls.

    Attributes:
        rate: how fast, with an interval over seeds at the level of `BOUND`; above 0 = it falls.
        factor: from a gain and a rate to how many times as many images bring it; infinite where none do.
    """

    rate: Interval
    factor: Callable[[float, float], float]


def laws(images: Sequence[int], errors: np.ndarray) -> tuple[Law, Law]:
    """The power law and the one that flattens.

    Args:
        images: numbers of real images [F], at least two different ones, the last one all of them.
        errors: of classifiers trained on so many [S, F], above 0.
    """
    parts, error = np.asarray(images, dtype=np.float64) / images[-1], float(errors[:, -1].mean())

    def power(gain: float, rate: float) -> float:
        return math.inf if gain >= error else math.exp(min(math.log(error / (error - gain)) / rate, 700.0))

    def flattening(gain: float, rate: float) -> float:
        return math.inf if gain >= rate else 1 / (1 - gain / rate)

    return (
        Law(_rate(-np.log(parts), np.log(errors)), power),
        Law(_rate(1 / parts, errors), flattening),
    )


def worth(images: Sequence[int], errors: np.ndarray, gain: Interval) -> Worth:
    """What a gain is worth in real images.

    Args:
        images: numbers of real images [F], at least two different ones, the last one all of them.
        errors: of classifiers trained on so many [S, F], above 0.
        gain: by how much the error fell, with an interval at the level of `BOUND`.
    """
    count = images[-1]
    fewest, farthest = min(images) / count, count / min(images)
    both, side = laws(images, errors), "undecided"
    limits = count * (farthest - 1), count * (fewest - 1)
    if gain.low is None or gain.high is None:
        return Worth(side, None, None, None, *limits, ONE_SEED)
    if gain.low > 0 or gain.high < 0:
        side = "gain" if gain.low > 0 else "harm"
    bounds = [(law, rate) for law in both for rate in (law.rate.low, law.rate.high) if rate is not None]
    if any(rate <= 0 for _, rate in bounds):
        return Worth(side, None, None, None, *limits, NO_CURVE)

    def of(value: float, law: Law, rate: float) -> float:
        return min(farthest, max(fewest, law.factor(value, rate)))

    middle = math.prod(of(gain.mean, law, law.rate.mean) for law in both) ** 0.5
    low = min(of(gain.low, law, rate) for law, rate in bounds)
    high = max(of(gain.high, law, rate) for law, rate in bounds)
    if side == "undecided" and low >= 1 - NEGLIGIBLE and high <= 1 + NEGLIGIBLE:
        side = "none"
    told, least, most = (count * (factor - 1) for factor in (middle, low, high))
    return Worth(side, told, least, most, *limits)


def _rate(x: np.ndarray, y: np.ndarray) -> Interval:
    """The slope of y [S, F] over x [F], for each seed."""
    centred = x - x.mean()
    return mean_interval([float((centred * row).sum() / (centred**2).sum()) for row in y], BOUND)
