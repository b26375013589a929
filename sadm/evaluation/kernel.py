"""The kernel distance, KID in Inception features (Bińkowski et al. 2018, arXiv 1801.01401)."""

from __future__ import annotations

import numpy as np

from sadm.core.errors import UserError


def kernel_distance(features: np.ndarray, reference: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel ``(x . y / d + 1)^3``, over all images at once.

    Args:
        features: [N, d].
        reference: [M, d].

    Returns:
        Its expectation is 0 for equal distributions, so single values may be negative.

    Raises:
        UserError: fewer than 2 images in a set, different lengths, or values that are not finite.
    """
    x, y = np.asarray(features, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or min(len(x), len(y)) < 2 or x.shape[1] != y.shape[1]:
        raise UserError(
            f"a kernel distance needs two sets of at least 2 features of one length, got {x.shape} and {y.shape}."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("features hold NaN or infinite values; check the images that they were computed from.")
    return _mean_off_diagonal(_kernel(x, x)) + _mean_off_diagonal(_kernel(y, y)) - 2 * float(_kernel(x, y).mean())


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_off_diagonal(matrix: np.ndarray) -> float:
    count = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (count * (count - 1)))
