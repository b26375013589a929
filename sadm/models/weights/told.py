"""A network's weights for one that is told of other attributes and pictures; where nothing is told, both compute the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch

from sadm.core.conditions import AttributeScale
from sadm.models.dit import ATTRIBUTE_TABLE, PICTURE_TABLE


def with_attributes(
    weights: dict[str, torch.Tensor], width: int, there: Sequence[AttributeScale], here: Sequence[AttributeScale]
) -> tuple[dict[str, torch.Tensor], str]:
    """Weights for other attributes, or for other scales of the same ones.

    An attribute of both is told in other units: with ``v = mean + std u``, weights w of u and k of "known" become
    ``w std_here / std_there`` and ``k + w (mean_here - mean_there) / std_there``, which compute the same for every v. A new one
    has weights of zero.

    Args:
        weights: of the network.
        width: channels of a token.
        there: attributes that the network is told of.
        here: those that it is to be told of.

    Returns:
        The weights, and a sentence about what changed, empty where nothing did.
    """
    if tuple(there) == tuple(here):
        return weights, ""
    rest = {name: tensor for name, tensor in weights.items() if name != ATTRIBUTE_TABLE}
    old = {scale.name: (number, scale) for number, scale in enumerate(there)}
    if here:
        like = next(iter(rest.values()))
        table = torch.zeros(width, len(here), 2, dtype=like.dtype, device=like.device)  # [D, a, (value, known)]
        for number, scale in enumerate(here):
            if scale.name in old:
                place, before = old[scale.name]
                value, known = weights[ATTRIBUTE_TABLE].unflatten(1, (-1, 2))[:, place].unbind(1)  # [D] each
                table[:, number, 0] = value * (scale.std / before.std)
                table[:, number, 1] = known + value * ((scale.mean - before.mean) / before.std)
        rest[ATTRIBUTE_TABLE] = table.flatten(1)
    names = {scale.name for scale in here}
    new, lost = [scale.name for scale in here if scale.name not in old], [name for name in old if name not in names]
    parts = [("starts at zero for", new), ("is left out for", lost)]
    said = [f"{what} {', '.join(them)}" for what, them in parts if them]
    return rest, f"Embedding of attributes: {' and '.join(said)}." if said else ""


def with_pictures(
    weights: dict[str, torch.Tensor],
    fresh: Mapping[str, torch.Tensor],
    there: Mapping[str, int],
    here: Mapping[str, int],
) -> tuple[dict[str, torch.Tensor], str]:
    """Weights for a network that is shown other pictures; a new one has weights of zero.

    Args:
        weights: of the network.
        fresh: of the one that they are to be for.
        there: channels of each picture that the network is shown.
        here: of each that it is to be shown.

    Returns:
        The weights, and a sentence about what changed, empty where nothing did.
    """
    if there == here:
        return weights, ""
    rest = {name: tensor for name, tensor in weights.items() if name != PICTURE_TABLE}
    if here:
        table = torch.zeros_like(fresh[PICTURE_TABLE])  # [D, C', p, p]
        old, new = _places(there), _places(here)
        for name in new:
            if there.get(name) == here[name]:
                table[:, new[name]] = weights[PICTURE_TABLE][:, old[name]]
        rest[PICTURE_TABLE] = table
    added, lost = [[name for name in a if b.get(name) != a[name]] for a, b in ((here, there), (there, here))]
    parts = [("starts at zero for", added), ("is left out for", [name for name in lost if name not in here])]
    said = [f"{what} {', '.join(names)}" for what, names in parts if names]
    return rest, f"Embedding of pictures: {' and '.join(said)}." if said else ""


def _places(channels: Mapping[str, int]) -> dict[str, slice]:
    """Which channels each picture has."""
    ends = list(accumulate(channels.values()))
    return {name: slice(end - count, end) for (name, count), end in zip(channels.items(), ends, strict=True)}
