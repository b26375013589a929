"""What a network is told of images besides their classes: numbers that are known of them, what is marked in them, and how they
look when they are damaged.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sadm.core.conditions import AttributeScale, Cond
from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data.damage import Damage, damage_seeds
from sadm.data.imageset import ImageSet

ATTRIBUTES, MASKS, DAMAGE = "attributes", "masks", "damage"
PICTURES = (MASKS, DAMAGE)
"""What `Cond.image` may show, its channels in this order."""


def scales_of(images: ImageSet) -> tuple[AttributeScale, ...]:
    """The scales of a set's attributes, measured on it.

    Raises:
        UserError: it has none, or nothing is known of one.
    """
    if images.attributes is None or not images.attribute_names:
        raise UserError(
            f"{images.source} has no attributes that the network could be told of (--data.tell attributes): give a column of "
            "numbers in metadata.csv, or leave 'attributes' out."
        )
    found = []
    for name, column in zip(images.attribute_names, images.attributes.double().unbind(1), strict=True):
        known = column[~column.isnan()]
        if not len(known):
            raise UserError(
                f"{images.source}: nothing is known of attribute '{name}' in any training image. Remove it."
            )
        spread = float(known.std(correction=0))
        found.append(AttributeScale(name, round(float(known.mean()), 6), round(spread, 6) or 1.0))
    return tuple(found)


def standardised(values: torch.Tensor, scales: Sequence[AttributeScale]) -> torch.Tensor:
    """Attributes as a network sees them: for each, its value in standard deviations from the mean, then whether it is known.

    Args:
        values: [N, a], float; NaN where one is not known.
        scales: of each column.

    Returns:
        [N, 2 a], float32; 0 and 0 for what is not known.
    """
    mean, std = (torch.tensor([getattr(scale, part) for scale in scales]) for part in ("mean", "std"))
    known = ~values.isnan()
    scaled = torch.where(known, (values - mean) / std, 0.0)
    return torch.stack([scaled, known.to(scaled.dtype)], dim=2).flatten(1).float()  # [N, 2 a]


def as_picture(masks: torch.Tensor) -> torch.Tensor:
    """Masks [N, 1, H, W], uint8, as a network sees them: 1 where something is marked, else -1 (0 would be "not known")."""
    return torch.where(masks >= 128, 1.0, -1.0)


class Told:
    """Tells a network of the images of a batch.

    Of an image, either is left out with a probability, so that the network can also be asked without; what is left out comes
    from (seed, step, position in the batch).

    Args:
        images: the training images.
        kinds: some of `ATTRIBUTES`, `MASKS` and `DAMAGE`.
        scales: of the attributes, where they are told of.
        damage: damages the images that are shown as `DAMAGE`.
        dropout: probability with which each kind is left out.
        seed: of the run.

    Raises:
        UserError: the images have no such thing.
    """

    def __init__(
        self,
        images: ImageSet,
        kinds: Sequence[str],
        scales: Sequence[AttributeScale],
        dropout: float,
        seed: int,
        damage: Damage | None = None,
    ) -> None:
        self.dropout, self.seed = dropout, seed
        self.damage = (damage or Damage()) if DAMAGE in kinds else None
        self.attributes: torch.Tensor | None = None  # [N, 2 a]
        self.masks: torch.Tensor | None = None  # [N, 1, H, W], uint8
        if ATTRIBUTES in kinds:
            assert images.attributes is not None  # noqa: S101 - it has scales
            self.attributes = standardised(images.attributes, scales)
        if MASKS in kinds:
            if images.masks is None:
                raise UserError(
                    f"{images.source} has no masks that the network could be told of (--data.tell masks): give a column 'mask' "
                    "in metadata.csv, or leave 'masks' out."
                )
            self.masks = images.masks

    def cond(
        self, x0: torch.Tensor, index: torch.Tensor, mirrored: torch.Tensor, step: int, batch: int, share: slice
    ) -> Cond:
        """What is told of the images at `index` in `step`: attributes [B, 2 a] and image [B, C', H, W].

        Args:
            x0: the images as they are seen [B, C, H, W].
            index: positions in the set [B].
            mirrored: places among them of the images that are mirrored left to right.
            step: of training.
            batch: images of the whole batch.
            share: places of these among them.
        """
        kept = (torch.rand(batch, 3, generator=generator(self.seed, "told", step)) >= self.dropout)[share]  # [B, 3]
        attributes = None if self.attributes is None else self.attributes[index] * kept[:, :1]
        shown = []
        if self.masks is not None:
            masks = self.masks.index_select(0, index)
            if len(mirrored):
                masks.index_copy_(0, mirrored, masks.index_select(0, mirrored).flip(-1))
            shown.append(as_picture(masks) * kept[:, 1, None, None, None])
        if self.damage is not None:
            rows, seeds = kept[:, 2].nonzero().flatten().tolist(), damage_seeds(self.seed, step, batch, share)
            damaged = torch.zeros_like(x0)
            if rows:  # what is left out is not worth making
                damaged[rows] = self.damage(x0[rows], [seeds[row] for row in rows])
            shown.append(damaged)
        return Cond(attributes=attributes, image=torch.cat(shown, dim=1) if shown else None)
