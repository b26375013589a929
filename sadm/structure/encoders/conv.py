"""A small convolutional encoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from sadm.structure.errors import StructureError

_LAYERS_PER_STAGE = 6  # two of convolution, norm, activation
OUTPUTS = ("embedding", "stages")


class ConvEncoder(nn.Module):
    """A small convolutional network with spatial pyramid pooling (He et al. 2014, arXiv 1406.4729), for any image size.

    Args:
        channels: of the images.
        width: channels of the first stage; each later stage, at half the resolution, has twice as many.
        stages: number of stages, >= 1.
        pyramid: side lengths of the pooling grids; several add coarse and fine places to the embedding.
        embedding: length d of the embedding.
        stride: of the first convolution; 2 takes a quarter of the pixels, and about a quarter of the time.
        outputs: ``embedding`` returns [B, d]. ``stages`` returns a tuple that adds local structure: for each stage its
            features [B, P, C'] at the P places of the finest pyramid grid, then the embedding [B, d].
    """

    def __init__(
        self,
        channels: int,
        width: int = 32,
        stages: int = 2,
        pyramid: tuple[int, ...] = (1, 2),
        embedding: int = 64,
        stride: int = 1,
        outputs: str = "embedding",
    ) -> None:
        super().__init__()
        if min(channels, width, stages, embedding, stride, *pyramid) < 1:
            raise StructureError("channels, width, stages, embedding, stride and pyramid sizes must be at least 1")
        if outputs not in OUTPUTS:
            raise StructureError(f"unknown outputs {outputs!r}; expected one of {', '.join(OUTPUTS)}")
        self.channels, self.pyramid, self.outputs = channels, pyramid, outputs
        layers: list[nn.Module] = []
        current = channels
        for stage in range(stages):
            out = width * 2**stage
            layers += [nn.Conv2d(current, out, 3, stride=stride if stage == 0 else 2, padding=1), *_norm_act(out)]
            layers += [nn.Conv2d(out, out, 3, padding=1), *_norm_act(out)]
            current = out
        self.trunk = nn.Sequential(*layers)
        self.project = nn.Linear(current * sum(side * side for side in pyramid), embedding)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise StructureError(f"this encoder expects [B, {self.channels}, H, W], got {tuple(x.shape)}")
        features, places = x, []
        for number, layer in enumerate(self.trunk, start=1):
            features = layer(features)  # [B, C', H', W']
            if self.outputs == "stages" and number % _LAYERS_PER_STAGE == 0:
                places.append(F.adaptive_avg_pool2d(features, max(self.pyramid)).flatten(2).mT)  # [B, P, C']
        pooled = [F.adaptive_avg_pool2d(features, side).flatten(1) for side in self.pyramid]
        # After the activation: what a classifier's head sees, and (almost) non-negative, so that an adversary gains nothing
        # by turning cosines negative along directions that pre-training never used.
        embedding = F.silu(self.project(torch.cat(pooled, dim=1)))  # [B, d]
        return (*places, embedding) if self.outputs == "stages" else embedding


def _norm_act(channels: int) -> list[nn.Module]:
    # Group norm sees one image at a time: statistics over the batch would mix real and denoised images.
    return [nn.GroupNorm(max(1, channels // 8), channels), nn.SiLU(inplace=True)]
