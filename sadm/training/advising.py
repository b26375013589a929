"""What the advice of ``sadm prepare`` needs to know of a training recipe."""

from __future__ import annotations

from sadm.data.preparation.advice import Recipe
from sadm.training.config import TrainConfig

OWN_SIDES = {"digits": 8, "fashion-mnist": 28}
"""Side in pixels of the images of built-in sources that recipes take as they are."""


def advice_recipe(name: str, config: TrainConfig) -> Recipe:
    """A recipe as the advice sees it."""
    data, optimiser = config.data, config.optimiser
    own = data.source if "source" in data.model_fields_set else None
    side = data.resolution or OWN_SIDES[data.source]
    return Recipe(name, own, data.resolution, side, config.net.divisor, optimiser.batch, optimiser.steps, data.channels)
