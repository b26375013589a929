"""Intervals of differences between classifiers that were trained over seeds and asked about the same images.

Both seeds and images are a sample, and each answer depends on both: rows and columns of a crossed design. No exact interval is
known; adding up the variances of both, each estimated by itself, counts what is left over twice and so errs on the wide side
(Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2), 386-411).

Images of one group (views of one part) are not independent. The variance over images is then that of sums over groups, whatever
the dependence within them (Liang & Zeger 1986, "Longitudinal data analysis using generalized linear models", Biometrika 73(1),
13-22), with as many degrees of freedom as there are groups but one.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from sadm.core.intervals import CONFIDENCE, Interval


def crossed_interval(
    values: np.ndarray,
    strata: np.ndarray | None = None,
    binary: bool = False,
    confidence: float = CONFIDENCE,
    units: np.ndarray | None = None,
) -> Interval:
    """The mean over seeds and images, with an interval over both.

    Student's, with Satterthwaite's degrees of freedom (1946, Biometrics Bulletin 2(6), 110-114).

    Args:
        values: differences, one for each seed and image [S, N].
        strata: a class for each image [N]: the mean is taken over each class's images, then over classes.
        binary: values are differences of 0 and 1. For the variance over images, two more are then counted, shared out among the
            strata, of which half a one gained and half a one lost: few images that differ say little about how many there are
            (after Agresti & Min 2005, Statistics in Medicine 24, 729-740).
        confidence: level of the interval.
        units: the number of each image's group [N]; None = all images are independent. Groups count within each stratum: what a
            group has in two classes is taken as independent. One group alone counts as one image.

    Returns:
        The mean, its interval, and a value for each seed; one seed alone has no interval.
    """
    members = (
        [np.arange(values.shape[1])] if strata is None else [np.flatnonzero(strata == s) for s in np.unique(strata)]
    )
    seeds = np.mean([values[:, rows].mean(1) for rows in members], axis=0)  # [S]
    mean, count = float(seeds.mean()), len(seeds)
    if count == 1:
        return Interval(mean, None, None, (mean,))
    images, numbers = values.mean(0), np.arange(values.shape[1]) if units is None else units  # [N] each
    added = 1 / len(members) if binary else 0.0
    parts = [_variance_of_mean(images[rows], numbers[rows], added) for rows in members]
    terms = [(float(seeds.var(ddof=1)) / count, count - 1)]
    terms += [(variance / len(members) ** 2, degrees) for variance, degrees in parts]
    variance = sum(term for term, _ in terms)
    if variance == 0:
        return Interval(mean, mean, mean, tuple(seeds.tolist()))
    freedom = variance**2 / sum(term**2 / degrees for term, degrees in terms)
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half, tuple(seeds.tolist()))


def _variance_of_mean(values: np.ndarray, units: np.ndarray, added: float) -> tuple[float, int]:
    """Of a stratum's images [n] in groups [n], with 2 * `added` more (see `crossed_interval`); and its degrees of freedom."""
    names, groups = np.unique(units, return_inverse=True)
    if len(names) == 1:
        values = values.mean(keepdims=True)
    freedom, count = max(1, len(names) - 1), len(values) + 2 * added
    mean = values.sum() / count
    if len(names) < len(values):
        sums = np.bincount(groups.reshape(-1), values - mean)  # [G]
        squares = (sums**2).sum() + added * (1 + 2 * mean**2)  # of those, a quarter each gained and lost
        return float(len(names) / (len(names) - 1) * squares / count**2), freedom
    if added:
        return float(((values**2).sum() + added) / count - mean**2) / count, freedom
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0, freedom
