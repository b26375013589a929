"""DiffFit's scale on the output of each residual branch (Xie et al. 2023, arXiv 2304.06648, section 3.3)."""

from __future__ import annotations

import copy

import torch
from torch import nn

from sadm.finetuning.branches import branches, replace


class Scaled(nn.Module):
    """``gamma * layer(x)``, one factor for each output channel, 1 at first.

    Args:
        layer: a linear layer [..., D], or a convolution [B, D, H, W].
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        self.gamma = nn.Parameter(layer.weight.new_ones(len(layer.weight)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.gamma if isinstance(self.layer, nn.Linear) else self.gamma[:, None, None]
        return self.layer(x) * scale

    def merged(self) -> nn.Module:
        """The plain layer that computes the same."""
        plain = copy.deepcopy(self.layer)
        with torch.no_grad():
            plain.weight *= self.gamma.view(-1, *[1] * (plain.weight.ndim - 1))
            if plain.bias is not None:
                plain.bias *= self.gamma
        return plain


def add_scales(net: nn.Module) -> None:
    """Puts a `Scaled` around the output of each residual branch."""
    for branch in branches(net):
        name = f"{branch.name}.{branch.output}"
        replace(net, name, Scaled(net.get_submodule(name)))  # type: ignore[arg-type]
