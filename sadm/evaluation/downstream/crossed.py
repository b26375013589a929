"""Intervals of differences between classifiers that were trained over seeds and asked about the same images.

Both seeds and images are a sample, and each answer depends on both: rows and columns of a crossed design. No exact interval is
known; adding up the variances of both, each estimated by itself, counts what is left over twice and so errs on the wide side
(Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2), 386-411).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from sadm.core.intervals import CONFIDENCE, Interval


def crossed_interval(
    values: np.ndarray, strata: np.ndarray | None = None, binary: bool = False, confidence: float = CONFIDENCE
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
    images = values.mean(0)  # [N]
    parts = [
        _variance_of_mean(images[rows], 1 / len(members) if binary else 0.0) / len(members) ** 2 for rows in members
    ]
    terms = [(float(seeds.var(ddof=1)) / count, count - 1)]
    terms += [(part, max(1, len(rows) - 1)) for part, rows in zip(parts, members, strict=True)]
    variance = sum(term for term, _ in terms)
    if variance == 0:
        return Interval(mean, mean, mean, tuple(seeds.tolist()))
    freedom = variance**2 / sum(term**2 / degrees for term, degrees in terms)
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half, tuple(seeds.tolist()))


def _variance_of_mean(values: np.ndarray, added: float) -> float:
    if added:
        count = len(values) + 2 * added
        return float(((values**2).sum() + added) / count - (values.sum() / count) ** 2) / count
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0
