"""Which new images lie outside of what training has shown? Conformal, by distances to the nearest training image.

A held-out image and a new one from the same source are equally far from the training images. Of n independent held-out images,
the k-th farthest, k = floor(0.05 (n + 1)), is exceeded by a further such image with probability k / (n + 1) at most (Vovk,
Gammerman and Shafer 2005).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from scipy import stats

from sadm.evaluation.neighbours import nearest_neighbours

OUTSIDE = 0.05
"""Of images like those of training, at most this share lies outside, where there are enough held-out images to say so."""
_LEAST = 1e-3  # of the median distance: a smaller one says no more


@dataclasses.dataclass(frozen=True)
class Support:
    """How far images are from the training images.

    Attributes:
        scores: of new images [N]: mean over the spaces of the logarithm of the distance by the usual one; larger is farther.
        fresh: of held-out images, likewise [n].
        nearest: each new image's nearest training image [N]: that of the space in which it is farthest beyond the usual.
        threshold: score above which an image lies outside.
        expected: the share of images like those of training that lies outside, at most.
        units: independent held-out images or groups.
        usual: the usual distance, by space.
    """

    scores: np.ndarray
    fresh: np.ndarray
    nearest: np.ndarray
    threshold: float
    expected: float
    units: int
    usual: dict[str, float]

    @property
    def outside(self) -> np.ndarray:
        """Which new images lie outside [N], bool."""
        return self.scores > self.threshold

    @staticmethod
    def of(
        new: dict[str, np.ndarray], fresh: dict[str, np.ndarray], training: dict[str, np.ndarray], units: np.ndarray
    ) -> Support:
        """Measures.

        Args:
            new: features by space [N, d] of each.
            fresh: of held-out images [n, d].
            training: of training images [M, d].
            units: which held-out images belong together [n]; a group counts once, by its farthest image.
        """
        count, rows = len(next(iter(new.values()))), {name: np.concatenate([new[name], fresh[name]]) for name in new}
        index, distances = _nearest(rows, training)
        # Of both sides, so that no relabelling changes it.
        usual = {name: float(np.median(values)) or float(values.mean()) or 1.0 for name, values in distances.items()}
        logs = _logarithms(distances, usual)
        scores, beyond = logs.mean(0), logs.argmax(0)
        nearest = np.stack([index[name] for name in usual])[beyond, np.arange(len(beyond))]
        farthest = np.full(int(units.max()) + 1, -np.inf)
        np.maximum.at(farthest, units, scores[count:])
        farthest = np.sort(farthest[np.isfinite(farthest)])
        rank = max(1, math.floor(OUTSIDE * (len(farthest) + 1)))
        return Support(
            scores=scores[:count],
            fresh=scores[count:],
            nearest=nearest[:count],
            threshold=float(farthest[-rank]),
            expected=rank / (len(farthest) + 1),
            units=len(farthest),
            usual=usual,
        )

    def lies_outside(self, images: dict[str, np.ndarray], training: dict[str, np.ndarray]) -> np.ndarray:
        """Which further images do [N], bool; features by space, as in `of`."""
        return _logarithms(_nearest(images, training)[1], self.usual).mean(0) > self.threshold

    def critical(self, images: int, level: float) -> int:
        """So many outside, or more, are found among `images` like those of training with a probability below `level`."""
        rank = round(self.expected * (self.units + 1))
        return int(stats.betabinom(images, rank, self.units + 1 - rank).isf(level)) + 1


def _nearest(
    images: dict[str, np.ndarray], training: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """By space, each image's nearest training image [N] and its distance."""
    found = {
        name: nearest_neighbours(torch.from_numpy(images[name]).float(), torch.from_numpy(gallery).float())
        for name, gallery in training.items()
    }
    index = {name: position.numpy() for name, (position, _) in found.items()}
    return index, {name: distance.double().numpy() for name, (_, distance) in found.items()}


def _logarithms(distances: dict[str, np.ndarray], usual: dict[str, float]) -> np.ndarray:
    """Of distances by the usual one [spaces, N]."""
    return np.log(np.maximum(np.stack([distances[name] / usual[name] for name in usual]), _LEAST))
