"""How many images a second training uses up: each recipe's step on its own network, without a signal."""

from __future__ import annotations

from typing import Any

import torch

from sadm.core.config import build_config, merge
from sadm.data import ImageSet
from sadm.training.advising import OWN_SIDES
from sadm.training.config import TrainConfig, load_train_config
from sadm.training.learner import Learner
from sadm.training.spec import spec_for

IMAGES = 1024
CLASSES = 10


def recipe_learner(recipe: str, change: dict[str, Any] | None = None) -> Learner:
    """A learner of a packaged recipe on made-up images of its shape: plain diffusion, its cheapest step.

    Args:
        recipe: its name.
        change: on top of the recipe.
    """
    plain = {"signal": "none", "device": "auto", **(change or {})}
    config = build_config(TrainConfig, merge(load_train_config(recipe).model_dump(mode="json"), plain), recipe)
    images = made_up_images(shape_of(config))
    return Learner(config, images, spec_for(images, config.net, config.process), [])


def shape_of(config: TrainConfig) -> tuple[int, int, int]:
    """(C, H, W) of the images of a recipe."""
    side = config.data.resolution or OWN_SIDES.get(config.data.source, 32)
    return config.data.channels or 1, side, side


def made_up_images(shape: tuple[int, int, int]) -> ImageSet:
    """Noise with labels."""
    pixels = torch.randint(0, 256, (IMAGES, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    names = tuple(map(str, range(IMAGES)))
    return ImageSet(pixels, torch.arange(IMAGES) % CLASSES, tuple(map(str, range(CLASSES))), names, "made up")
