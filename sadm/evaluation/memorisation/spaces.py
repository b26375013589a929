"""Spaces in which distances to training and to reference images are taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from sadm.data import ImageSet
from sadm.evaluation.judges import Judge, build_judges
from sadm.evaluation.neighbours import nearest_neighbours

LEAST = 1e-3  # a smaller ratio of distances says no more: an image is a copy


def ratio(to_training: np.ndarray, to_reference: np.ndarray) -> np.ndarray:
    """Distance to the nearest training image, by that to the nearest reference image; both 0 make 1.

    Both distances change together where images are simple or a set is dense, so that their ratio tells copies better than the
    first alone, and blurred images are not taken for copies.
    """
    both_none = (to_training <= 0) & (to_reference <= 0)
    values = to_training / np.maximum(to_reference, 1e-12)
    return np.where(both_none, 1.0, np.maximum(values, LEAST))


class FeatureSpaces:
    """Raw pixels, and the judges' features: fitted on images that neither training nor the comparison knows.

    Args:
        fitting: images for the judges alone.
        training: training images.
        reference: reference images.
    """

    def __init__(self, fitting: ImageSet, training: ImageSet, reference: ImageSet) -> None:
        self.judges: Sequence[Judge] = build_judges(fitting)
        self.titles = {"rms": "pixels"} | {judge.name: judge.title for judge in self.judges}
        self._sides = {name: [self._features(name, side) for side in (training, reference)] for name in self.titles}

    def ratios(self, images: ImageSet, progress: Callable[[int, int], None]) -> dict[str, np.ndarray]:
        """By space, `ratio` of each image [N].

        Args:
            images: generated or real ones.
            progress: called with (spaces done, spaces in all).
        """
        found = {}
        for number, (name, sides) in enumerate(self._sides.items()):
            features = self._features(name, images)
            found[name] = ratio(*(nearest_neighbours(features, side)[1].double().numpy() for side in sides))
            progress(number + 1, len(self._sides))
        return found

    def _features(self, name: str, images: ImageSet) -> torch.Tensor:
        if name == "rms":
            return images.floats().flatten(1)
        judge = next(judge for judge in self.judges if judge.name == name)
        return torch.from_numpy(judge.features(images)).float()
