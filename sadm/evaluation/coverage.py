"""Is what is generated real, and is all that is real generated?

Improved precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991), density and coverage (Naeem et al. 2020,
arXiv 2002.09797). A set's manifold is the union of balls around its features, each reaching to the k-th nearest other feature of
the set, the border included; the package prdc leaves the border out, which matters for copies alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy.spatial.distance import cdist

from sadm.core.errors import UserError
from sadm.evaluation.checks import checked_features, refuse_other_length

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


@dataclasses.dataclass(frozen=True)
class DensityCoverage:
    """Counts in real images' balls alone, so that stray generated images can't widen anything.

    Attributes:
        density: real balls that hold a generated image, in the mean over generated images, over k; >= 0, about 1 for real
            images, above 1 where they crowd together.
        coverage: share of real images, in [0, 1], whose ball holds a generated one.
    """

    density: float
    coverage: float


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
        if neighbours < 1:
            raise UserError(f"a manifold needs at least 1 neighbour, got {neighbours}.")
        values = checked_features(features, neighbours + 1, f"a manifold of {neighbours} neighbours")
        self.features, self.neighbours = values, neighbours
        self.radii = np.concatenate(  # [N]; a feature's nearest, at distance 0, is itself
            [np.partition(distances, neighbours, axis=1)[:, neighbours] for distances in self._distances(values)]
        )

    def share_inside(self, points: np.ndarray) -> float:
        """Share of `points` [M, d] that lie in a ball.

        Raises:
            UserError: no point, points of another length than the manifold's features, or values that are not finite.
        """
        points = self._checked(points)
        return float(np.concatenate([(part <= self.radii).any(axis=1) for part in self._distances(points)]).mean())

    def density_coverage(self, points: np.ndarray) -> DensityCoverage:
        """Density and coverage of generated features [M, d], this being the manifold of real ones.

        Raises:
            UserError: as for `share_inside`.
        """
        points = self._checked(points)
        held = 0
        covered = np.zeros(len(self.features), dtype=bool)
        for part in self._distances(points):
            inside = part <= self.radii  # [<= _CHUNK, N]
            held += int(inside.sum())
            covered |= inside.any(axis=0)
        return DensityCoverage(held / (self.neighbours * len(points)), float(covered.mean()))

    def _checked(self, points: np.ndarray) -> np.ndarray:
        values = checked_features(points, 1, "a manifold")
        refuse_other_length(values, self.features)
        return values

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
