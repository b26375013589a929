"""Point-wise features: the same encoder as the structure game, but each image is compared with itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from sadm.signals.embeddings import parts_of
from sadm.signals.pointwise import Balancing, PointwiseSignal


class FeatureLoss(nn.Module):
    """``l_i = |E(x0_hat_i) / |E(x0_hat_i)| - E(x0_i) / |E(x0_i)||^2`` with a frozen encoder E.

    A perceptual loss (Johnson et al. 2016, arXiv 1603.08155) in the encoder that the game uses, on embeddings normalised as
    its cosine relation does, that is ``2 - 2 cos``. If relations between images are worth anything, the game must beat this.
    Over the places and stages of an encoder with local outputs, the mean is taken as the game takes it.

    Args:
        encoder: from [B, C, H, W] to [B, d], [B, P, d], or a tuple of those.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x0: torch.Tensor, x0_hat: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        """Losses [m] of x0_hat [m, C, H, W]; see the class."""
        with torch.no_grad():
            parts = [F.normalize(part, dim=-1) for part in parts_of(self.encoder(x0))]
        parts_hat = [F.normalize(part, dim=-1) for part in parts_of(self.encoder(x0_hat))]
        squared = [(a - b).square().sum(-1) for a, b in zip(parts, parts_hat, strict=True)]  # [m] or [m, P] each
        return torch.stack([part.flatten(1).mean(1) if part.ndim > 1 else part for part in squared]).mean(0)


def feature_signal(encoder: nn.Module, balancing: Balancing) -> PointwiseSignal:
    """The control 'features': `FeatureLoss` with a pre-trained encoder, which is frozen here."""
    return PointwiseSignal("features", FeatureLoss(encoder), balancing)
