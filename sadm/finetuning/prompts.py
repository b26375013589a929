"""Visual prompt tuning, deep: learned tokens in each transformer block (Jia et al. 2022, arXiv 2203.12119, section 3.2)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sadm.core.errors import UserError
from sadm.finetuning.branches import blocks, replace
from sadm.models.modern import Rope2d


class Prompted(nn.Module):
    """A transformer block that sees learned tokens behind those of the image, and gives the image's alone.

    Args:
        block: called as ``block(tokens [B, T, D], ...) -> [B, T, D]``.
        prompts: how many.
        width: channels D of a token.
    """

    def __init__(self, block: nn.Module, prompts: int, width: int) -> None:
        super().__init__()
        self.block = block
        like = next(block.parameters())
        self.prompts = nn.Parameter(0.02 * torch.randn(1, prompts, width).to(like))

    def forward(self, tokens: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
        more = torch.cat([tokens, self.prompts.expand(len(tokens), -1, -1)], dim=1)  # [B, T + P, D]
        return self.block(more, *arguments, **named)[:, : tokens.shape[1]]


def add_prompts(net: nn.Module, count: int) -> None:
    """Puts a `Prompted` around each transformer block.

    Raises:
        UserError: the network has no such blocks, or its positions are rotary, of a fixed number of tokens.
    """
    if any(isinstance(module, Rope2d) for module in net.modules()):
        raise UserError(
            "this network turns its tokens by rotary positions (net.rope), which learned tokens have none of. Choose another "
            "--finetune.method than vpt."
        )
    for name, block in blocks(net):
        replace(net, name, Prompted(block, count, _width(block)))


def _width(block: nn.Module) -> int:
    """Channels of a token: what the block's first linear layer on tokens takes."""
    for module in block.modules():
        if isinstance(module, nn.LayerNorm):
            return int(module.normalized_shape[0])
    raise UserError(f"the width of tokens of a {type(block).__name__} can't be told: it has no layer norm.")
