"""From a run's configuration to its augmentation."""

from __future__ import annotations

from sadm.data import Augmentation, Augmenter, ImageSet
from sadm.training.data_config import AugmentConfig


def augmenter_for(config: AugmentConfig, images: ImageSet) -> Augmenter | None:
    """What augments these images; None where nothing is on.

    Raises:
        UserError: a transformation that such images can't have.
    """
    augmenter = Augmenter(Augmentation(config.probability, **config.strengths), images.shape[0])
    return augmenter if augmenter.names else None
