"""A small vision transformer as encoder (Dosovitskiy et al. 2021, arXiv 2010.11929), for any image size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from sadm.structure.encoders.conv import OUTPUTS
from sadm.structure.errors import StructureError

POSITIONS = ("sincos", "learned")


class ViTEncoder(nn.Module):
    """Patch embedding, pre-norm transformer blocks, mean over patches, projection. No dropout and no class token.

    Args:
        channels: of the images.
        patch: side of a patch in pixels; images must divide into patches, their size is free otherwise.
        width: channels of a token, divisible by `heads`, and by 4 for ``sincos`` positions.
        depth: number of blocks, >= 1.
        heads: attention heads.
        mlp_ratio: hidden width of a block's MLP over `width`.
        embedding: length d of the embedding.
        positions: ``sincos`` (fixed) or ``learned`` (a table).
        grid: side, in patches, of the images that the positions are made for; other sizes are interpolated, so that the same
            place in the image keeps the same position.
        outputs: ``embedding`` returns [B, d]. ``stages`` returns a tuple that adds local structure: for each block its tokens
            [B, P, width], then the embedding [B, d].
    """

    def __init__(
        self,
        channels: int,
        patch: int = 4,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        embedding: int = 64,
        positions: str = "sincos",
        grid: int = 8,
        outputs: str = "embedding",
    ) -> None:
        super().__init__()
        if min(channels, patch, width, depth, heads, embedding, grid) < 1 or not mlp_ratio > 0:
            raise StructureError(
                "channels, patch, width, depth, heads, embedding and grid must be at least 1, mlp_ratio above 0"
            )
        for name, value, allowed in (("positions", positions, POSITIONS), ("outputs", outputs, OUTPUTS)):
            if value not in allowed:
                raise StructureError(f"unknown {name} {value!r}; expected one of {', '.join(allowed)}")
        if width % heads or (positions == "sincos" and width % 4):
            raise StructureError(f"width {width} must be divisible by heads ({heads}), and by 4 for sincos positions")
        self.channels, self.patch, self.width, self.grid, self.outputs = channels, patch, width, grid, outputs
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.table = nn.Parameter(0.02 * torch.randn(1, width, grid, grid)) if positions == "learned" else None
        self.blocks = nn.ModuleList(_Block(width, heads, round(mlp_ratio * width)) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, embedding)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        if x.ndim != 4 or x.shape[1] != self.channels or not x.numel() or any(s % self.patch for s in x.shape[2:]):
            raise StructureError(
                f"this encoder expects [B, {self.channels}, H, W] with H and W divisible by its patch {self.patch}, "
                f"got {tuple(x.shape)}"
            )
        features = self.embed(x)  # [B, D, h, w]
        features = features + self._positions(features.shape[2], features.shape[3]).to(features)
        tokens = features.flatten(2).mT  # [B, P, D]
        places = []
        for block in self.blocks:
            tokens = block(tokens)
            places.append(tokens)
        # After an activation, for the reason given at `ConvEncoder`.
        embedding = F.silu(self.project(self.norm(tokens).mean(dim=1)))  # [B, d]
        return (*places, embedding) if self.outputs == "stages" else embedding

    def _positions(self, rows: int, columns: int) -> torch.Tensor:
        if self.table is None:
            return _sincos(self.width, self.grid, rows, columns, self.embed.weight.device)
        if (rows, columns) == (self.grid, self.grid):
            return self.table
        return F.interpolate(self.table, (rows, columns), mode="bilinear", align_corners=False)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self._attention(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))

    def _attention(self, tokens: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )  # each [B, heads, P, D/heads]
        # Plain products: few tokens, and a gradient penalty needs a second derivative, which fused kernels do not have.
        scores = (q * q.shape[-1] ** -0.5) @ k.mT  # [B, heads, P, P]
        return self.proj((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))  # [B, P, D]


def _sincos(width: int, grid: int, rows: int, columns: int, device: torch.device) -> torch.Tensor:
    """Sine-cosine positions [1, width, rows, columns] at patch centres, measured in patches of a `grid` x `grid` image."""
    frequencies = 10000.0 ** (-torch.arange(width // 4, device=device) / (width // 4))
    axes = []
    for count in (rows, columns):
        place = (torch.arange(count, device=device) + 0.5) * (grid / count)
        angles = frequencies[:, None] * place  # [width / 4, count]
        axes.append(torch.cat([angles.sin(), angles.cos()]))  # [width / 2, count]
    vertical = axes[0][:, :, None].expand(-1, rows, columns)
    horizontal = axes[1][:, None, :].expand(-1, rows, columns)
    return torch.cat([vertical, horizontal])[None]
