"""The kernel distance, KID in Inception features (Bińkowski et al. 2018, arXiv 1801.01401): the unbiased squared maximum mean
discrepancy with the kernel ``(x . y / d + 1)^3``.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import special

from sadm.core.errors import UserError
from sadm.evaluation.checks import checked_pair

PURPOSE = "a kernel distance"
_CHUNK = 1024  # rows of a kernel matrix held at a time


@dataclasses.dataclass(frozen=True)
class KernelEstimate:
    """A kernel distance and how far it can be trusted.

    Attributes:
        value: unbiased; its expectation is 0 for equal distributions, so single values may be negative.
        standard_error: >= 0, of the sampling of both sets.
        low: lower end of the interval.
        high: upper end of it.
    """

    value: float
    standard_error: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class KernelBlocks:
    """A kernel distance as the public packages report it.

    Attributes:
        mean: over random subsets.
        spread: standard deviation over these subsets (dividing by their number). The subsets overlap, so it tells neither the
            error of `mean`, nor does dividing it by a square root.
    """

    mean: float
    spread: float


def kernel_distance(features: np.ndarray, reference: np.ndarray) -> float:
    """The kernel distance over all images at once.

    Args:
        features: [N, d].
        reference: [M, d].

    Returns:
        Its expectation is 0 for equal distributions, so single values may be negative.

    Raises:
        UserError: fewer than 2 images in a set, different lengths, or values that are not finite.
    """
    x, y = checked_pair(features, reference, 2, PURPOSE)
    return _discrepancy(x, y)


def kernel_distance_interval(features: np.ndarray, reference: np.ndarray, level: float = 0.95) -> KernelEstimate:
    """`kernel_distance` with a standard error, by the jackknife for U-statistics (Arvesen 1969, Ann. Math. Stat. 40).

    Leaving out each image of either set in turn follows from sums of rows of the kernel matrices. The variance so found is too
    large rather than too small (Efron & Stein 1981): for equal distributions, where the statistic is degenerate, by a factor
    of about 2. The interval is normal.

    Args:
        features: [N, d].
        reference: [M, d].
        level: of the interval, in (0, 1).

    Raises:
        UserError: fewer than 3 images in a set, different lengths, or values that are not finite.
    """
    x, y = checked_pair(features, reference, 3, PURPOSE + "'s standard error")
    x_within, y_within = (_sums_of_rows(z, z) - ((z * z).mean(axis=1) + 1) ** 3 for z in (x, y))
    x_between, y_between = _sums_of_rows(x, y), _sums_of_rows(y, x)
    value = float(
        x_within.sum() / (len(x) * (len(x) - 1))
        + y_within.sum() / (len(y) * (len(y) - 1))
        - 2 * x_between.sum() / (len(x) * len(y))
    )
    variance = _jackknife(x_within, x_between, len(y)) + _jackknife(y_within, y_between, len(x))
    error = float(np.sqrt(variance))
    reach = float(special.ndtri((1 + level) / 2)) * error
    return KernelEstimate(value, error, value - reach, value + reach)


def kernel_distance_blocks(
    features: np.ndarray, reference: np.ndarray, subsets: int = 100, subset_size: int = 1000, seed: int = 2020
) -> KernelBlocks:
    """The kernel distance over random subsets, drawn as torch-fidelity draws them.

    Args:
        features: [N, d].
        reference: [M, d].
        subsets: how many.
        subset_size: images of each set in a subset, drawn without replacement; at least 2.
        seed: of the draws.

    Raises:
        UserError: fewer images than a subset takes, different lengths, or values that are not finite.
    """
    if subsets < 1 or subset_size < 2:
        raise UserError(f"at least 1 subset of 2 images is needed, got {subsets} of {subset_size}.")
    x, y = checked_pair(features, reference, subset_size, f"{PURPOSE} over subsets of {subset_size}")
    draws = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        first = draws.choice(len(x), subset_size, replace=False)
        second = draws.choice(len(y), subset_size, replace=False)
        values.append(_discrepancy(x[first], y[second]))
    return KernelBlocks(float(np.mean(values)), float(np.std(values)))


def _discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    return _mean_off_diagonal(_kernel(x, x)) + _mean_off_diagonal(_kernel(y, y)) - 2 * float(_kernel(x, y).mean())


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_off_diagonal(matrix: np.ndarray) -> float:
    count = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (count * (count - 1)))


def _sums_of_rows(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sums over y [M, d] of the kernel with each of x [N, d]; [N], without the whole matrix at once."""
    return np.concatenate([_kernel(x[i : i + _CHUNK], y).sum(axis=1) for i in range(0, len(x), _CHUNK)])


def _jackknife(within: np.ndarray, between: np.ndarray, other: int) -> float:
    """Variance from leaving out each image of one set.

    Args:
        within: [N], sums of the kernel with the others of that set.
        between: [N], sums of the kernel with the other set.
        other: its number of images.
    """
    count = len(within)
    left_within = (within.sum() - 2 * within) / ((count - 1) * (count - 2))
    left_between = (between.sum() - between) / ((count - 1) * other)
    left = left_within - 2 * left_between
    return float((count - 1) / count * ((left - left.mean()) ** 2).sum())
