"""A trained network made fit for images of other classes, channels and sizes."""

from __future__ import annotations

import dataclasses

from torch import nn

from sadm.core.errors import UserError
from sadm.models import DiT, UNetAdapter
from sadm.models.weights.augment_table import with_columns
from sadm.models.weights.told import with_attributes, with_pictures
from sadm.models.weights.transfer import transfer_weights
from sadm.training.spec import ModelSpec


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What was done to a trained network.

    Attributes:
        changed: names of the modules whose weights don't fit the new images yet; see `transfer_weights`.
        said: what became of the tensors, for people; empty where they stayed as they were.
    """

    changed: tuple[str, ...]
    said: tuple[str, ...]


def fit_network(
    net: nn.Module, source: nn.Module, there: ModelSpec, here: ModelSpec, renamed: dict[str, str], seed: int
) -> Fitted:
    """Gives a fresh network the weights of a trained one, in place.

    Args:
        net: of `here`.
        source: the trained network, of `there`.
        there: what it was trained for.
        here: what it is to be trained for.
        renamed: for new classes, the old one that they start from, where its name is another.
        seed: of what new classes start from.

    Raises:
        UserError: a renamed class is not there, or it is a network of a kind that can't be fitted.
    """
    if not isinstance(source, DiT | UNetAdapter) or not isinstance(net, DiT | UNetAdapter):
        raise UserError(f"a {type(source).__name__} can't be continued on other images; expected a DiT or a UNet.")
    moved = transfer_weights(source, net, origins(there.class_names, here.class_names, renamed), seed)
    weights, augment = with_columns(moved.weights, here.net.width, there.augment, here.augment)
    weights, attributes = with_attributes(weights, here.net.width, there.attributes, here.attributes)
    weights, pictures = with_pictures(weights, net.state_dict(), there.picture_channels, here.picture_channels)
    net.load_state_dict(weights)
    same = there.shape == here.shape and there.class_names == here.class_names
    said = ("" if same else str(moved.report), augment, attributes, pictures)
    return Fitted(moved.changed, tuple(text for text in said if text))


def origins(old: tuple[str, ...], new: tuple[str, ...], renamed: dict[str, str]) -> list[int | None]:
    """For each new class, the index of the old one that it starts from; None = it is new.

    Raises:
        UserError: a renamed class is no class of the new images, or its origin none of the model.
    """
    for name, origin in renamed.items():
        for what, known, where in ((name, new, "the new images"), (origin, old, "the model")):
            if what not in known:
                listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
                raise UserError(f"finetune.renamed: '{what}' is no class of {where}; there are {listed or 'none'}.")
    named = [renamed.get(name, name) for name in new]
    return [old.index(name) if name in old else None for name in named]
