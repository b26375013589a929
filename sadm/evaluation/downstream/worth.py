"""How many more real images would do what generated ones do.

The rule: error against number of real images is taken as a power law (as learning curves mostly are: Hestness et al. 2017,
arXiv 1712.00409; Viering & Loog 2021, arXiv 2103.10948), a straight line in logarithms whose slope is fitted by least
squares for each seed, and which goes through the error e of all n real images. A gain of g is then worth
``n ((e / (e - g))^(1 / slope) - 1)`` images. Nothing is extrapolated farther beyond n, as a factor, than was measured below.
A curve that flattens needs more images than that, so the number is rather too low.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sadm.core.intervals import Interval, mean_interval

NEGLIGIBLE = 0.1
"""A gain that is worth less than this share of the real images, either way, is none."""
BOUND = 0.975
"""Level of the intervals of gain and slope: both together hold at 95 %, whatever they have to do with each other (Bonferroni)."""
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


def slopes(images: Sequence[int], errors: np.ndarray) -> list[float]:
    """Minus the slope of log error over log number of images, for each seed.

    Args:
        images: numbers of real images [F], at least two different ones.
        errors: above 0 [S, F].
    """
    x = np.log(np.asarray(images, dtype=np.float64))
    centred = x - x.mean()
    return [float(-(centred * np.log(row)).sum() / (centred**2).sum()) for row in errors]


def worth(images: Sequence[int], errors: np.ndarray, gain: Interval) -> Worth:
    """What a gain is worth in real images.

    Args:
        images: numbers of real images [F], the last one all of them.
        errors: of classifiers trained on so many [S, F], above 0.
        gain: by how much the error fell, with an interval at the level of `BOUND`.
    """
    count, error = images[-1], float(errors[:, -1].mean())
    slope = mean_interval(slopes(images, errors), BOUND)
    farthest, fewest = float(count * (count / min(images) - 1)), float(min(images) - count)
    side = "undecided"
    if gain.low is not None and gain.high is not None:
        side = "gain" if gain.low > 0 else "harm" if gain.high < 0 else "undecided"
    if slope.low is None or slope.high is None or gain.low is None or gain.high is None or slope.low <= 0:
        return Worth(side, None, None, None, farthest, fewest, NO_CURVE if len(errors) > 1 else ONE_SEED)

    def of(value: float, steepness: float) -> float:
        if value >= error:
            return farthest
        nats = math.log(error / (error - value)) / steepness
        return min(farthest, max(fewest, count * math.expm1(min(nats, 700.0))))

    bounds = (slope.low, slope.high)
    low, high = min(of(gain.low, b) for b in bounds), max(of(gain.high, b) for b in bounds)
    if side == "undecided" and -NEGLIGIBLE * count <= low and high <= NEGLIGIBLE * count:
        side = "none"
    return Worth(side, of(gain.mean, slope.mean), low, high, farthest, fewest)
