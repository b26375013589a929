"""From a run's configuration to what the structure game holds relations to, where that is known beforehand."""

from __future__ import annotations

import torch

from sadm.core.errors import UserError
from sadm.data import ImageSet
from sadm.data.told import scales_of, standardised
from sadm.signals import KnownStructure, OfAttributes, of_classes
from sadm.training.latents import TrainingSet, pictures_of
from sadm.training.pretraining import too_few_classes
from sadm.training.signal_config import StructureConfig


def known_structure(training: TrainingSet, settings: StructureConfig) -> KnownStructure | None:
    """Affinities of the classes, or of the numbers that come with the images; None = what the encoder sees of the images.

    Raises:
        UserError: the images have no classes, or lack a number.
    """
    images = pictures_of(training)
    if settings.target == "images":
        return None
    if settings.target == "attributes":
        return OfAttributes(_measured(images), settings.target_bandwidth)
    if images.labels is None or images.num_classes < 2:
        raise UserError(
            f"structure.target 'labels' needs images of at least two classes, but {images.source} has "
            f"{too_few_classes(training)}. Put the images into class folders, or use another target."
        )
    return of_classes


def _measured(images: ImageSet) -> torch.Tensor:
    """The attributes of all images, each in standard deviations from its mean [N, a]."""
    if images.attributes is None or not images.attribute_names:
        raise UserError(
            f"structure.target 'attributes' needs numbers that are known of the images, but {images.source} has none. Give "
            "columns of numbers in metadata.csv, or use another target."
        )
    lacking = int(images.attributes.isnan().any(1).sum())
    if lacking:
        raise UserError(
            f"structure.target 'attributes' needs every number of every image, but {images.source} has {lacking} images that "
            "lack one. Fill them in, or leave those images out."
        )
    return standardised(images.attributes, scales_of(images))[:, ::2]
