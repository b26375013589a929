"""Improved precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991): is what is generated real, and is all that is
real generated?

A set's manifold is the union of balls around its features, each reaching to the k-th nearest other feature of the set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy.spatial.distance import cdist

from sadm.core.errors import UserError

NEIGHBOURS = 3
_CHUNK = 512  # rows of a distance matrix held at a time


@dataclasses.dataclass(frozen=True)
class Coverage:
    """Shares in [0, 1].

    Attributes:
        precision: share of generated images inside the real images' manifold.
        recall: share of real images inside the generated images' manifold.
    """

    precision: float
    recall: float


class Manifold:
    """The manifold of features, as the paper estimates it (equation 1).

    Distances are differences, not a matrix product, so that a copy lies at distance 0.

    Args:
        features: [N, d], finite, N > `neighbours`.
        neighbours: k, which other feature a ball reaches to.

    Raises:
        UserError: too few features, another shape, or values that are not finite.
    """

    def __init__(self, features: np.ndarray, neighbours: int = NEIGHBOURS) -> None:
        values = np.asarray(features, dtype=np.float64)
        if values.ndim != 2 or len(values) <= neighbours:
            raise UserError(
                f"a manifold of {neighbours} neighbours needs features [N, d] of at least {neighbours + 1} images, got "
                f"shape {values.shape}."
            )
        if not np.isfinite(values).all():
            raise UserError("features hold NaN or infinite values; check the images that they were computed from.")
        self.features, self.neighbours = values, neighbours
        self.radii = np.concatenate(  # [N]; a feature's nearest, at distance 0, is itself
            [np.partition(distances, neighbours, axis=1)[:, neighbours] for distances in self._distances(values)]
        )

    def share_inside(self, points: np.ndarray) -> float:
        """Share of `points` [M, d] that lie in a ball.

        Raises:
            UserError: points of another length than the manifold's features.
        """
        points = np.asarray(points, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != self.features.shape[1]:
            raise UserError(f"features of different length: shapes {points.shape} and {self.features.shape}.")
        return float(np.concatenate([(part <= self.radii).any(axis=1) for part in self._distances(points)]).mean())

    def _distances(self, points: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(points), _CHUNK):
            yield cdist(points[start : start + _CHUNK], self.features)  # [<= _CHUNK, N]


def precision_recall(generated: np.ndarray, reference: Manifold) -> Coverage:
    """Precision and recall of generated features against real ones.

    The paper takes as many generated as real images: a manifold of more images reaches farther into every corner.

    Args:
        generated: [N, d].
        reference: the manifold of the real images' features; its number of neighbours serves both.
    """
    ours = Manifold(generated, neighbours=reference.neighbours)
    return Coverage(reference.share_inside(generated), ours.share_inside(reference.features))
