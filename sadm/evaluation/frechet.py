"""The Fréchet distance between Gaussians fitted to features (Dowson & Landau 1982; Heusel et al. 2017, arXiv 1706.08500).

In anything but Inception features it is an "FD" with the judge's name, never an FID.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np
import torch
from scipy import linalg

from sadm.core.errors import UserError
from sadm.evaluation.checks import checked_features, refuse_other_length

_EPSILON = float(np.finfo(np.float64).eps)
_TOLERANCE = 1e-9
"""Rounding error, relative to the distance, up to which singular values come from a Gram matrix: 1e-6 with much to spare."""


@dataclasses.dataclass(frozen=True)
class GaussianFit:
    """Mean and unbiased covariance of features, in float64.

    Attributes:
        mean: [d].
        covariance: [d, d], symmetric and positive semidefinite.
        factor: [r, d] with ``factor.T @ factor`` equal to the covariance, where there are fewer images than features; None
            otherwise.
    """

    mean: np.ndarray
    covariance: np.ndarray
    factor: np.ndarray | None = None

    @staticmethod
    def of(features: np.ndarray) -> GaussianFit:
        """Fits features [N, d].

        Raises:
            UserError: fewer than 2 rows, another shape, or NaN or infinity among them.
        """
        values = checked_features(features, 2, "a Fréchet distance")
        mean = values.mean(axis=0)
        centred = (values - mean) / (len(values) - 1) ** 0.5
        factor = centred if len(values) <= values.shape[1] else None
        return GaussianFit(mean, centred.T @ centred, factor)

    @cached_property
    def cholesky(self) -> np.ndarray | None:
        """Lower triangle [d, d] with ``L @ L.T`` equal to the covariance; None where that is singular to rounding."""
        lower, failed = linalg.lapack.dpotrf(self.covariance.T, lower=1)
        pivots = np.abs(np.diag(lower))
        singular = failed or pivots.min() ** 2 <= len(pivots) * _EPSILON * pivots.max() ** 2
        return None if singular else lower

    @cached_property
    def root(self) -> np.ndarray:
        """[r, d] with ``root.T @ root`` equal to the covariance and r about its rank.

        Raises:
            UserError: the matrix has negative eigenvalues, so it is no covariance.
        """
        if self.factor is not None:
            return self.factor
        if self.cholesky is not None:
            return self.cholesky.T
        values, vectors = linalg.eigh(self.covariance)
        noise = len(values) * _EPSILON * np.abs(values).max()
        if values[0] < -1e3 * noise:
            raise UserError(
                f"a covariance has no negative eigenvalue, but the smallest of this one is {values[0]:.3g} and the largest "
                f"{values[-1]:.3g}. Compute it again, in double precision."
            )
        kept = values > noise
        return (vectors[:, kept] * np.sqrt(values[kept])).T


def frechet_distance(first: GaussianFit, second: GaussianFit) -> float:
    """``|m1 - m2|^2 + tr(C1 + C2) - 2 tr (C1 C2)^1/2``.

    With C1 = L L^T, the last trace is the sum of the square roots of the eigenvalues of the symmetric L^T C2 L: one Cholesky
    factor and one symmetric eigenvalue problem, without eigenvectors, and nothing complex, unlike with the square root of the
    product. Where rounding could show, and for singular covariances (N <= d), it is the sum of the singular values of
    R1 R2^T, with R^T R = C.

    Returns:
        A number >= 0 up to rounding; features that are constant in both sets leave the squared distance of the means.

    Raises:
        UserError: fits of different dimension, or a matrix that is no covariance.
    """
    refuse_other_length(first.mean, second.mean)
    difference = first.mean - second.mean
    apart = float(difference @ difference + np.trace(first.covariance) + np.trace(second.covariance))
    if first.factor is None and second.factor is None:
        lower, other = first.cholesky, second.covariance
        if lower is None:
            lower, other = second.cholesky, first.covariance
        if lower is not None:
            product, _ = linalg.lapack.dsygst(other.T, lower, itype=2, lower=1)  # [d, d], its lower triangle L^T C L
            roots, error = _sum_of_roots(product.T, "U")
            if 2 * error <= _TOLERANCE * abs(apart - 2 * roots):
                return apart - 2 * roots
    return apart - 2 * _sum_of_singular_values(first.root @ second.root.T, apart)


def _sum_of_singular_values(matrix: np.ndarray, apart: float) -> float:
    """From the eigenvalues of the smaller Gram matrix, several times as fast, where that is exact enough."""
    if min(matrix.shape) == 0:
        return 0.0
    roots, error = _sum_of_roots(matrix @ matrix.T if len(matrix) < matrix.shape[1] else matrix.T @ matrix, "L")
    if 2 * error <= _TOLERANCE * abs(apart - 2 * roots):
        return roots
    return float(linalg.svdvals(matrix).sum())


def _sum_of_roots(matrix: np.ndarray, triangle: str) -> tuple[float, float]:
    """Sum of the square roots of a semidefinite matrix's eigenvalues, and a bound of what rounding adds to it.

    Args:
        matrix: [n, n].
        triangle: which is read, "U" or "L".
    """
    # torch's LAPACK takes half the time of scipy's here.
    values = torch.linalg.eigvalsh(torch.from_numpy(matrix), UPLO=triangle).numpy().clip(min=0)
    largest = values[-1]
    if largest == 0:
        return 0.0, 0.0
    errors = _EPSILON * largest / (2 * np.sqrt(values.clip(min=_EPSILON * largest)))
    return float(np.sqrt(values).sum()), float(errors.sum())
