"""Encoders: images to embeddings whose arrangement is compared.

Any module from [B, C, H, W] to [B, d] will do, provided that it treats images independently: no batch norm, no dropout.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from sadm.structure.errors import StructureError


class ConvEncoder(nn.Module):
    """A small convolutional network with spatial pyramid pooling (He et al. 2014, arXiv 1406.4729), for any image size.

    Args:
        channels: of the images.
        width: channels of the first stage; each later stage, at half the resolution, has twice as many.
        stages: number of stages, >= 1.
        pyramid: side lengths of the pooling grids; several add coarse and fine places to the embedding.
        embedding: length d of the embedding.
    """

    def __init__(
        self, channels: int, width: int = 32, stages: int = 2, pyramid: tuple[int, ...] = (1, 2), embedding: int = 64
    ) -> None:
        super().__init__()
        if min(channels, width, stages, embedding, *pyramid) < 1:
            raise StructureError("channels, width, stages, embedding and pyramid sizes must be at least 1")
        self.channels, self.pyramid = channels, pyramid
        layers: list[nn.Module] = []
        current = channels
        for stage in range(stages):
            out = width * 2**stage
            layers += [nn.Conv2d(current, out, 3, stride=1 if stage == 0 else 2, padding=1), *_norm_act(out)]
            layers += [nn.Conv2d(out, out, 3, padding=1), *_norm_act(out)]
            current = out
        self.trunk = nn.Sequential(*layers)
        self.project = nn.Linear(current * sum(side * side for side in pyramid), embedding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise StructureError(f"this encoder expects [B, {self.channels}, H, W], got {tuple(x.shape)}")
        features = self.trunk(x)  # [B, C', H', W']
        pooled = [F.adaptive_avg_pool2d(features, side).flatten(1) for side in self.pyramid]
        # After the activation: what a classifier's head sees, and (almost) non-negative, so that an adversary gains nothing
        # by turning cosines negative along directions that pre-training never used.
        return F.silu(self.project(torch.cat(pooled, dim=1)))  # [B, d]


def _norm_act(channels: int) -> list[nn.Module]:
    # Group norm sees one image at a time: statistics over the batch would mix real and denoised images.
    return [nn.GroupNorm(max(1, channels // 8), channels), nn.SiLU(inplace=True)]
