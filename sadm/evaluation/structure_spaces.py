"""The structure metric in every space: how sets of generated images are arranged, beside how as many real ones are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch

from sadm.core.errors import UserError
from sadm.data import ImageSet
from sadm.evaluation.judges import Judge
from sadm.evaluation.structure_metric import StructureGaps, mean_gaps, patch_gaps, structure_gaps

MOST_FOR_STRUCTURE = 1000
"""Structure is compared among the first so many images of a group: the time grows with their cube."""
PATCHES = "patches"
"""The space of pixels, patch by patch."""

Gaps = dict[str, dict[str, float]]
"""By space and gap (see `StructureGaps`)."""


class StructureSpaces:
    """Compares arrangements in the features of judges, and of the pixels of patches.

    Args:
        judges: feature spaces.
        reference: real images.
        features: of the reference by judge, each [N, d].
        floor: as many other real images.
    """

    def __init__(
        self, judges: Sequence[Judge], reference: ImageSet, features: Mapping[str, np.ndarray], floor: ImageSet
    ) -> None:
        self.judges = {judge.name: judge for judge in judges}
        self.reference, self.features, self.floor = first_images(reference), features, floor

    @cached_property
    def real(self) -> Gaps:
        """What real images score; without spaces in which nothing can be told, such as one where all real images are equal."""
        found = {}
        for space in (*self.judges, PATCHES):
            try:
                found[space] = self._gaps(space, self.floor)
            except UserError:
                continue
        return {space: named(gaps) for space, gaps in found.items()}

    def of(self, groups: Sequence[ImageSet]) -> Gaps:
        """The means over groups of generated images, each as large as the reference, in the spaces of `real`."""
        return {space: named(mean_gaps([self._gaps(space, group) for group in groups])) for space in self.real}

    def _gaps(self, space: str, images: ImageSet) -> StructureGaps:
        images = first_images(images)
        if space == PATCHES:
            return gaps_of_patches(images, self.reference)
        return gaps_of_features(images, self.judges[space].features(images), self.reference, self.features[space])


def gaps_of_features(
    images: ImageSet, features: np.ndarray, reference: ImageSet, reference_features: np.ndarray
) -> StructureGaps:
    """`structure_gaps` of the first `MOST_FOR_STRUCTURE` images; with classes where there are some to compare.

    Args:
        images: N images.
        features: of these [N, d].
        reference: as many real images, or more than are compared.
        reference_features: of these.

    Raises:
        UserError: as `structure_gaps`.
    """
    count = min(len(reference), MOST_FOR_STRUCTURE)
    return structure_gaps(
        features[:count], reference_features[:count], _labels(images, count), _labels(reference, count)
    )


def gaps_of_patches(images: ImageSet, reference: ImageSet) -> StructureGaps:
    """`patch_gaps` of the first `MOST_FOR_STRUCTURE` images; with classes where there are some to compare.

    Raises:
        UserError: as `patch_gaps`.
    """
    count = min(len(reference), MOST_FOR_STRUCTURE)
    first, second = images.floats()[:count], reference.floats()[:count]
    return patch_gaps(first, second, _labels(images, count), _labels(reference, count))


def named(gaps: StructureGaps) -> dict[str, float]:
    """The gaps that there are, by name."""
    return {name: value for name, value in vars(gaps).items() if value is not None}


def first_images(images: ImageSet) -> ImageSet:
    """Those whose arrangement is compared."""
    return images if len(images) <= MOST_FOR_STRUCTURE else images.subset(torch.arange(MOST_FOR_STRUCTURE))


def _labels(images: ImageSet, count: int) -> np.ndarray | None:
    """Labels of the first images; None where there are no classes to compare."""
    labels = None if images.labels is None else images.labels.numpy()[:count]
    classes = 0 if labels is None else len(np.unique(labels))
    return labels if labels is not None and 1 < classes < len(labels) else None
