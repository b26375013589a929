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
        attributes: values by name, as in the training images' table; the same for all images.
        masks: [count, 1, H, W], uint8; what is to be marked.

    Raises:
        UserError: the network knows no such attribute or no masks, or a mask has another size.
    """
    values = None
    if attributes:
        values = _row(spec, attributes).expand(count, -1)
    if masks is not None and len(masks) != count:
        raise UserError(f"{len(masks)} masks were given for {count} images; expected one for each.")
    return condition_of(spec, values, masks)


def condition_of(spec: ModelSpec, values: torch.Tensor | None, masks: torch.Tensor | None) -> Cond:
    """What a network is told of images, each with its own numbers.

    Args:
        spec: of the network.
        values: [N, a], NaN where one is not known, in the order of `ModelSpec.attributes`; None = nothing is known.
        masks: [N, 1, H, W], uint8; None = they are not known.

    Raises:
        UserError: the network knows no masks, or these have another size.
    """
    return Cond(
        attributes=None if values is None else standardised(values, spec.attributes),
        image=None if masks is None else _picture(spec, masks),
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


def _row(spec: ModelSpec, given: Mapping[str, float]) -> torch.Tensor:
    """Values [1, a] in the order of the network's attributes."""
    names = [scale.name for scale in spec.attributes]
    if not names:
        raise UserError(
            f"attributes were given ({', '.join(given)}), but this model was trained without. Train one with "
            "--data.tell attributes."
        )
    for name in given:
        if name not in names:
            raise UserError(f"'{name}' is no attribute of this model; there are {', '.join(names)}.")
    return torch.tensor([[given.get(name, math.nan) for name in names]], dtype=torch.float32)


def _picture(spec: ModelSpec, masks: torch.Tensor) -> torch.Tensor:
    if MASKS not in spec.pictures:
        raise UserError("a mask was given, but this model was trained without. Train one with --data.tell masks.")
    expected = (len(masks), 1, *spec.shape[1:])
    if tuple(masks.shape) != expected or masks.dtype != torch.uint8:
        raise UserError(f"masks are {masks.dtype} {list(masks.shape)}; expected uint8 {list(expected)} for this model.")
    return as_picture(masks)
