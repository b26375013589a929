"""Is one set of scores lower than another? The Mann-Whitney test, with dependent images and with classes.

Meehan, Chaudhuri and Dasgupta (2020, arXiv 2004.05675) compare distances to training images so, cell by cell. Here cells are
classes, and images of a group may depend on each other.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy import stats

from sadm.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Closeness:
    """How often a generated image scores lower than a fresh real one of its class.

    Attributes:
        probability: that it does, ties counting half; 0.5 = as real images do.
        low, high: 95 % interval.
        p_value: of 0.5 or less.
    """

    probability: float
    low: float
    high: float
    p_value: float


def closeness(
    generated: np.ndarray,
    real: np.ndarray,
    units: np.ndarray | None = None,
    classes: tuple[np.ndarray, np.ndarray] | None = None,
) -> Closeness:
    """Tests whether generated images score lower than fresh real ones.

    Ranks are taken within a class; classes are weighted by what they tell (van Elteren 1960). The variance of the mean ranks'
    difference is that of sums over independent units under equality; without groups and classes this is Mann and Whitney's.
    The difference is judged by Student's distribution, with one degree of freedom less than there are real units.

    Args:
        generated: scores [N].
        real: scores of fresh real images [n].
        units: which real images belong together [n]; None = none do.
        classes: of the generated and of the real images; None = one class. Classes that one side lacks are left out.

    Raises:
        UserError: a side without images, or scores that are not finite.
    """
    if not len(generated) or not len(real) or not (np.isfinite(generated).all() and np.isfinite(real).all()):
        raise UserError("comparing scores needs finite scores of generated and of fresh real images.")
    units = np.arange(len(real)) if units is None else units
    ours, theirs = classes or (np.zeros(len(generated), np.int64), np.zeros(len(real), np.int64))
    own, other, weights = np.zeros(len(generated)), np.zeros(len(real)), 0.0
    for label in np.intersect1d(ours, theirs):
        first, second = ours == label, theirs == label
        n, m = int(first.sum()), int(second.sum())
        ranks = stats.rankdata(np.concatenate([generated[first], real[second]]))
        centred = (ranks - (n + m + 1) / 2) / (n + m)
        weight = n * m / (n + m + 1)
        own[first], other[second] = weight * centred[:n] / n, -weight * centred[n:] / m
        weights += weight
    if not weights:
        return Closeness(0.5, 0.0, 1.0, 1.0)
    independent = np.unique(units[other != 0]) if other.any() else np.unique(units)
    by_unit = np.bincount(units, other)
    size = len(generated) + len(real)
    error = math.sqrt((own @ own + by_unit @ by_unit) * size / (size - 1)) / weights
    difference = -(own.sum() + other.sum()) / weights
    if error == 0 or len(independent) < 2:  # all scores are equal, or one unit alone
        return Closeness(0.5 + difference, 0.0, 1.0, 1.0)
    spread = stats.t(len(independent) - 1)
    reach = float(spread.ppf(0.975)) * error
    return Closeness(
        float(0.5 + difference),
        float(max(0.0, 0.5 + difference - reach)),
        float(min(1.0, 0.5 + difference + reach)),
        float(spread.sf(difference / error)),
    )
