"""The model that a training started from, frozen: to compare with, and as an encoder of clean images."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from sadm.core.conditions import Cond
from sadm.diffusion import Centred, EDMDenoiser, PathDenoiser
from sadm.signals.taps import Taps
from sadm.structure import DenoiserFeatures


@dataclasses.dataclass(frozen=True)
class Source:
    """The model that a training started from, frozen.

    Attributes:
        denoiser: in eval mode; it takes the images of the training, and no gradient reaches its weights.
        labels: for each class of the training, and its null class, the one that `denoiser` is to see [K + 1]; the null class for
            classes that it never learned. None without classes.
    """

    denoiser: EDMDenoiser | PathDenoiser | Centred
    labels: torch.Tensor | None

    def cond(self, cond: Cond) -> Cond:
        """The same conditioning, with classes that this model knows."""
        if cond.label is None or self.labels is None:
            return cond
        return dataclasses.replace(cond, label=self.labels[cond.label])


class SourceEncoder(nn.Module):
    """Features of clean images in the model that the training started from: no second network, and nothing to pre-train.

    From [B, C, H, W] to the mean over places [B, d] of one activation, or with `outputs` 'stages' to the activation at its places
    [B, P, d] and that mean. The images go in as they are, told as of a low noise level and of no class. The model is
    no part of this module: its weights are neither moved nor saved with it.

    Args:
        tap: name of the module of the model's network that is read.
        sigma: noise level that the model is told, > 0.
        outputs: 'embedding' or 'stages'.
    """

    fixed: torch.Tensor

    def __init__(self, tap: str, sigma: float, outputs: str = "embedding") -> None:
        super().__init__()
        self.tap, self.sigma, self.outputs = tap, sigma, outputs
        self.places = nn.Identity()  # for signals that read features at places through a hook
        # Tells `EmbeddingCache` that nothing changes, and signals the precision.
        self.register_buffer("fixed", torch.zeros(()), persistent=False)
        self.features: DenoiserFeatures | None = None

    def bind_source(self, source: Source) -> None:
        """Takes the model.

        Raises:
            UserError: its network has no such module.
        """
        Taps(source.denoiser.net, [self.tap])  # says which modules there are
        registers = int(getattr(source.denoiser.net, "registers", 0))
        self.features = DenoiserFeatures(
            source.denoiser, [f"net.{self.tap}"], self.sigma, Cond(), places=True, registers=registers
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        if self.features is None:
            raise ValueError("this encoder is the model that the training started from: bind_source first")
        (activation,) = self.features(x)
        activation = self.places(activation)
        pooled = activation if activation.ndim == 2 else activation.mean(1)  # [B, d]
        return (activation, pooled) if self.outputs == "stages" else pooled
