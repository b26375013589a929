"""A narrow network beside each MLP (AdaptFormer: Chen et al. 2022, arXiv 2205.13535, equation 4)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from sadm.core.errors import UserError
from sadm.finetuning.branches import Branch, branches, matrices, replace


class Bottleneck(nn.Module):
    """``module(x) + scale * up(relu(down(x)))``; `up` is zero at first, so that training starts from the module.

    Args:
        module: its first argument and its result are tokens [..., D].
        inputs: channels that it takes.
        outputs: channels that it gives.
        rank: channels between `down` and `up`.
        scale: factor on what is added.
    """

    def __init__(self, module: nn.Module, inputs: int, outputs: int, rank: int, scale: float) -> None:
        super().__init__()
        self.module, self.scale = module, scale
        like = next(module.parameters())
        self.down = nn.Linear(inputs, rank).to(like)
        self.up = nn.Linear(rank, outputs).to(like)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)

    def forward(self, x: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
        added: torch.Tensor = self.up(F.relu(self.down(x)))
        return self.module(x, *arguments, **named) + self.scale * added


def add_bottlenecks(net: nn.Module, rank: int, scale: float) -> None:
    """Puts a `Bottleneck` around each branch that treats tokens one by one.

    Raises:
        UserError: the network has none.
    """
    found = [branch for branch in branches(net) if branch.pointwise]
    if not found:
        raise UserError(
            f"no MLPs were found in this {type(net).__name__}, so there is nothing to put an adapter beside. Choose another "
            "--finetune.method, such as lora."
        )
    for branch in found:
        inputs, outputs = _widths(branch)
        replace(net, branch.name, Bottleneck(branch.module, inputs, outputs, rank, scale))


def _widths(branch: Branch) -> tuple[int, int]:
    first = next(module for _, module in matrices(branch))
    last = branch.module.get_submodule(branch.output)
    return int(first.in_features), int(last.out_features)  # type: ignore[arg-type]
