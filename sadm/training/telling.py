"""What a network is told of images besides their classes: in training by the images, in sampling by the user."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.data import ImageSet
from sadm.data.told import ATTRIBUTES, MASKS, Told, as_picture, standardised
from sadm.training.config import TrainConfig
from sadm.training.spec import ModelSpec


def told_by(config: TrainConfig, spec: ModelSpec, images: ImageSet) -> Told | None:
    """What tells the network of these training images; None where it is told of their classes alone."""
    kinds = [kind for kind, there in ((ATTRIBUTES, spec.attributes), (MASKS, spec.pictures)) if there]
    return Told(images, kinds, spec.attributes, config.data.tell_dropout, config.seed) if kinds else None


def condition(
    spec: ModelSpec, count: int, attributes: Mapping[str, float] | None = None, masks: torch.Tensor | None = None
) -> Cond:
    """What a network is told of `count` images that it is to draw; what is not given, it is not told.

    Args:
        spec: of the network.
        count: of images.
        attributes: values by name, as in the training images' table.
        masks: [count, 1, H, W], uint8; what is to be marked.

    Raises:
        UserError: the network knows no such attribute or no masks, or a mask has another size.
    """
    return Cond(
        attributes=_attributes(spec, count, attributes) if attributes else None,
        image=None if masks is None else _picture(spec, count, masks),
    )


def parse_attributes(texts: Sequence[str]) -> dict[str, float]:
    """From such as ``severity=0.8``.

    Raises:
        UserError: something else, or a name twice.
    """
    found: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            number = float(value) if equals else math.nan
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UserError(f"--attribute is '{text}'; expected NAME=NUMBER, such as severity=0.8.")
        if name in found:
            raise UserError(f"--attribute gives {name} twice. Leave one out.")
        found[name] = number
    return found


def _attributes(spec: ModelSpec, count: int, given: Mapping[str, float]) -> torch.Tensor:
    names = [scale.name for scale in spec.attributes]
    if not names:
        raise UserError(
            f"attributes were given ({', '.join(given)}), but this model was trained without. Train one with "
            "--data.tell attributes."
        )
    for name in given:
        if name not in names:
            raise UserError(f"'{name}' is no attribute of this model; there are {', '.join(names)}.")
    row = torch.tensor([[given.get(name, math.nan) for name in names]], dtype=torch.float32)
    return standardised(row, spec.attributes).expand(count, -1)


def _picture(spec: ModelSpec, count: int, masks: torch.Tensor) -> torch.Tensor:
    if MASKS not in spec.pictures:
        raise UserError("a mask was given, but this model was trained without. Train one with --data.tell masks.")
    expected = (count, 1, *spec.shape[1:])
    if tuple(masks.shape) != expected or masks.dtype != torch.uint8:
        raise UserError(f"masks are {masks.dtype} {list(masks.shape)}; expected uint8 {list(expected)} for this model.")
    return as_picture(masks)
