"""`Cond`: what a denoiser knows besides the noisy image, and how numbers are written there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch


@dataclasses.dataclass(frozen=True)
class Cond:
    """Conditioning of a batch; each part is optional.

    Attributes:
        label: class indices [B], int64. A network's null class (its `null_label`) means "unknown".
        augment: what augmentation was applied [B, k], float.
        attributes: continuous or embedded attributes [B, a], float; all zeros = nothing is known.
        image: an image to condition on [B, C', H, W], float; all zeros = nothing is known.
    """

    label: torch.Tensor | None = None  # [B]
    augment: torch.Tensor | None = None  # [B, k]
    attributes: torch.Tensor | None = None  # [B, a]
    image: torch.Tensor | None = None  # [B, C', H, W]

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Cond:
        """Applies `function` to every part that is present."""
        parts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return Cond(**{name: None if part is None else function(part) for name, part in parts.items()})

    def __getitem__(self, index: torch.Tensor | slice) -> Cond:
        """The same conditioning for a part of the batch."""
        return self.map(lambda part: part[index])

    def to(self, device: torch.device | str) -> Cond:
        """Moves every part to a device."""
        return self.map(lambda part: part.to(device))

    def with_label_dropped(self, mask: torch.Tensor, null_label: int) -> Cond:
        """Replaces the label by the null class where `mask` [B] is true (classifier-free guidance, Ho & Salimans 2022)."""
        if self.label is None:
            return self
        return dataclasses.replace(self, label=self.label.masked_fill(mask, null_label))

    def without_label(self, null_label: int) -> Cond:
        """The unconditional counterpart: every label becomes the null class."""
        if self.label is None:
            return self
        return dataclasses.replace(self, label=torch.full_like(self.label, null_label))


@dataclasses.dataclass(frozen=True)
class AttributeScale:
    """How a number that is known of images is written for a network.

    Attributes:
        name: of the column.
        mean, std: over the training images where it is known.
    """

    name: str
    mean: float
    std: float
