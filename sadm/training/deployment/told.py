"""What a network in a file is told: an input of the file for each thing, in the units that people have."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from sadm.core.conditions import AttributeScale, Cond
from sadm.data.told import ATTRIBUTES, MASKS, standardised
from sadm.training.model_folder import Model

LABEL = "label"


@dataclasses.dataclass(frozen=True)
class ToldInputs:
    """Inputs of a file besides the image, in this order: ``label`` [B], ``attributes`` [B, a], ``masks`` [B, 1, H, W] and
    ``damage`` [B, C, H, W], those that a network knows.

    Attributes:
        null_label: the class that means "unknown"; None = there are no classes.
        scales: of the attributes, which are given as in the training images' table, NaN where one is not known.
        pictures: channels of each picture by its name. Masks are 1 where something is marked, else -1, damaged images in [-1, 1];
            all zeros = not known.
    """

    null_label: int | None
    scales: tuple[AttributeScale, ...]
    pictures: dict[str, int]

    @staticmethod
    def of(model: Model) -> ToldInputs:
        """Those of a model."""
        return ToldInputs(model.null_label, model.spec.attributes, model.spec.picture_channels)

    def examples(self, count: int, size: Sequence[int], draws: torch.Generator) -> dict[str, torch.Tensor]:
        """Values for `count` images of a size (H, W): the null class among them, and in the first image nothing is known."""
        found: dict[str, torch.Tensor] = {}
        if self.null_label is not None:
            found[LABEL] = (self.null_label - torch.arange(count)) % (self.null_label + 1)
        if self.scales:
            columns = [scale.mean + scale.std * torch.randn(count, generator=draws) for scale in self.scales]
            found[ATTRIBUTES] = torch.stack(columns, dim=1)
            found[ATTRIBUTES][0] = torch.nan
        for name, channels in self.pictures.items():
            picture = 2 * torch.rand(count, channels, *size, generator=draws) - 1
            found[name] = picture.sign() if name == MASKS else picture
            found[name][0] = 0
        return found

    def cond(self, given: Sequence[torch.Tensor]) -> Cond:
        """What the denoiser is told by values of all inputs, in their order."""
        rest = list(given)
        label = rest.pop(0) if self.null_label is not None else None
        attributes = standardised(rest.pop(0), self.scales) if self.scales else None
        return Cond(label=label, attributes=attributes, image=torch.cat(rest, dim=1) if rest else None)
