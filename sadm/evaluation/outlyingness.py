"""How far out of a set of real images does a single image lie? Precision's test (`Manifold`) as a number for each image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import cdist

from sadm.core.errors import UserError
from sadm.evaluation.checks import checked_features, refuse_other_length
from sadm.evaluation.coverage import NEIGHBOURS

_SMALLEST = 1e-12  # radius of a ball, where several real images are the same


class Outlyingness:
    """Distances from real images, measured in the balls of `Manifold`: 1 = on the edge of the nearest ball, 0 = a real image.

    In each feature space, an image's distance to each real image is divided by the radius of that one's ball, which reaches to
    its k-th nearest other; the least counts. Of several spaces, the largest counts: an image must be at home in all of them. A
    real image is measured by the balls that the others would have without it.

    Args:
        spaces: features of the same N real images [N, d] in each space; N >= k + 2.
        neighbours: k.

    Attributes:
        real: outlyingness of the real images [N].

    Raises:
        UserError: too few features, another number of them in a space, or values that are not finite.
    """

    def __init__(self, spaces: Sequence[np.ndarray], neighbours: int = NEIGHBOURS) -> None:
        least = neighbours + 2
        self._spaces = [
            checked_features(values, least, f"outlyingness by {neighbours} neighbours") for values in spaces
        ]
        if not self._spaces or len({len(values) for values in self._spaces}) > 1:
            raise UserError(f"outlyingness needs features of the same images in each space, got {len(spaces)} spaces.")
        self._radii, found = [], []
        for values in self._spaces:
            distances = cdist(values, values)  # [N, N]
            ordered = np.sort(distances, axis=1)  # a feature's nearest, at distance 0, is itself
            own, wider = ordered[:, neighbours, None], ordered[:, neighbours + 1, None]
            without = np.where(distances <= own, wider, own)  # radius of ball i without image j [N, N]
            ratios = distances / np.maximum(without, _SMALLEST)
            np.fill_diagonal(ratios, np.inf)
            found.append(ratios.min(axis=0))
            self._radii.append(np.maximum(own[:, 0], _SMALLEST))
        self.real: np.ndarray = np.max(found, axis=0)

    def of(self, spaces: Sequence[np.ndarray]) -> np.ndarray:
        """Outlyingness of other images [M].

        Args:
            spaces: their features [M, d] in the same spaces.

        Raises:
            UserError: features of another length, or values that are not finite.
        """
        found = []
        for values, real, radii in zip(spaces, self._spaces, self._radii, strict=True):
            points = checked_features(values, 1, "outlyingness")
            refuse_other_length(points, real)
            found.append((cdist(points, real) / radii).min(axis=1))
        return np.asarray(np.max(found, axis=0))
