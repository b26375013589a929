"""A network's weights for one that is told of other augmentation."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sadm.models.dit import AUGMENT_TABLE


def with_columns(
    weights: dict[str, torch.Tensor], width: int, there: Sequence[str], here: Sequence[str]
) -> tuple[dict[str, torch.Tensor], str]:
    """A network's weights, for one that is told of other augmentation.

    Where nothing was done to an image, the two compute the same: a column that is new has weights of zero, and one that is not
    needed added nothing.

    Args:
        weights: of the network.
        width: channels of a token.
        there: columns of `Cond.augment` that the network is told of.
        here: those that it is to be told of.

    Returns:
        The weights, and a sentence about what changed, empty where nothing did.
    """
    if tuple(there) == tuple(here):
        return weights, ""
    rest = {name: tensor for name, tensor in weights.items() if name != AUGMENT_TABLE}
    new, lost = [name for name in here if name not in there], [name for name in there if name not in here]
    if here:
        like = next(iter(rest.values()))
        table = torch.zeros(width, len(here), dtype=like.dtype, device=like.device)  # [D, k]
        for column, name in enumerate(here):
            if name in there:
                table[:, column] = weights[AUGMENT_TABLE][:, list(there).index(name)]
        rest[AUGMENT_TABLE] = table
    parts = [("starts at zero for", new), ("is left out for", lost)]
    said = [f"{what} {', '.join(names)}" for what, names in parts if names]
    return rest, f"Embedding of augmentation: {' and '.join(said)}." if said else ""
