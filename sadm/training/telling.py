"""What a network is told of images besides their classes: in training by the images, in sampling by the user."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.data import ImageSet
from sadm.data.damage import Damage
from sadm.data.told import ATTRIBUTES, DAMAGE, MASKS, Told, as_picture, standardised
from sadm.training.config import TrainConfig
from sadm.training.spec import ModelSpec

_WORDS = {MASKS: "a mask was", DAMAGE: "a damaged image was"}


def told_by(config: TrainConfig, spec: ModelSpec, images: ImageSet) -> Told | None:
    """What tells the network of these training images; None where it is told of their classes alone."""
    kinds = ((ATTRIBUTES,) if spec.attributes else ()) + spec.pictures
    if not kinds:
        return None
    damage = Damage(config.data.damage, config.data.damage_strength)
    return Told(images, kinds, spec.attributes, config.data.tell_dropout, config.seed, damage)


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


def condition_of(
    spec: ModelSpec,
    values: torch.Tensor | None = None,
    masks: torch.Tensor | None = None,
    damaged: torch.Tensor | None = None,
) -> Cond:
    """What a network is told of images, each with its own numbers and pictures.

    Args:
        spec: of the network.
        values: [N, a], NaN where one is not known, in the order of `ModelSpec.attributes`; None = nothing is known.
        masks: [N, 1, H, W], uint8; None = they are not known.
        damaged: what the images look like when they are damaged [N, C, H, W], floating point in [-1, 1]; None = not known.

    Raises:
        UserError: the network knows no masks or no damage, or these have another size.
    """
    given = {MASKS: masks, DAMAGE: damaged}
    pictures = {name: _picture(spec, name, picture) for name, picture in given.items() if picture is not None}
    attributes = None if values is None else standardised(values, spec.attributes)
    if not pictures:
        return Cond(attributes=attributes)
    like = next(iter(pictures.values()))
    empty = {name: like.new_zeros(len(like), count, *like.shape[2:]) for name, count in spec.picture_channels.items()}
    return Cond(attributes=attributes, image=torch.cat(list({**empty, **pictures}.values()), dim=1))


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


def _picture(spec: ModelSpec, name: str, given: torch.Tensor) -> torch.Tensor:
    """A picture as the network sees it."""
    if name not in spec.pictures:
        raise UserError(f"{_WORDS[name]} given, but this model was trained without. Train one with --data.tell {name}.")
    expected = (len(given), spec.picture_channels[name], *spec.shape[1:])
    if tuple(given.shape) != expected or (name == MASKS and given.dtype != torch.uint8):
        kind = "uint8" if name == MASKS else "floating point"
        raise UserError(f"{name}: {given.dtype} {list(given.shape)}; expected {kind} {list(expected)} for this model.")
    return as_picture(given) if name == MASKS else given.float()
