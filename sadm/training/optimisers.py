"""The optimiser of a network: AdamW, or Muon for the matrices of its blocks and AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from sadm.core.errors import UserError
from sadm.training.config import OptimiserConfig
from sadm.training.parallel.engine import blocks_of

BETAS = (0.9, 0.99)
ROUNDS = 5
"""Of the iteration by which Muon makes a matrix orthogonal."""
STACKED_UP_TO = 128
"""Shorter side of a matrix up to which `StackedMuon` is quicker than units for bfloat16: benchmarks.muon."""


class Together:
    """Optimisers of different parameters, used as one.

    Args:
        parts: by name.
    """

    def __init__(self, parts: Mapping[str, torch.optim.Optimizer]) -> None:
        self.parts = dict(parts)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts; changes in them are seen by the parts."""
        return [group for part in self.parts.values() for group in part.param_groups]

    def step(self) -> None:
        """One step of each part."""
        for part in self.parts.values():
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradients of all parameters."""
        for part in self.parts.values():
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The parts' states by name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        for name, part in self.parts.items():
            part.load_state_dict(state[name])


def build_optimiser(net: nn.Module, config: OptimiserConfig, sharded: bool = False) -> torch.optim.Optimizer | Together:
    """The optimiser of the parameters of `net` that learn.

    Muon (Jordan et al. 2024) turns the momentum of a weight matrix into a nearly orthogonal one. Its steps are scaled to the size
    of AdamW's (2502.16982, section 2.2), so that one learning rate serves both. It is torch's where there is one and bfloat16 is
    quick, and `StackedMuon` elsewhere: on a CPU, unless matrices are large and the processor has units for bfloat16.

    Args:
        net: on its device.
        config: says which.
        sharded: whether each process holds a share of every parameter.

    Raises:
        UserError: Muon is asked for, and processes share matrices out, or no matrix of a block learns.
    """
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if config.kind == "adamw":
        return _adamw(learning, config)
    if sharded:
        raise UserError(
            "--optimiser.kind muon works on whole matrices, and --parallel.strategy shares them out. Use ddp, or adamw."
        )
    matrices = block_matrices(net)
    if not matrices:
        raise UserError(
            "--optimiser.kind muon moves the weight matrices of a network's blocks, and here none of them learns. Use adamw."
        )
    chosen = {id(matrix) for matrix in matrices}
    rest = [parameter for parameter in learning if id(parameter) not in chosen]
    muon = _muon_for(matrices)(
        matrices,
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        ns_steps=ROUNDS,
        adjust_lr_fn="match_rms_adamw",
    )
    return Together({"muon": muon, **({"adamw": _adamw(rest, config)} if rest else {})})


def _muon_for(matrices: list[nn.Parameter]) -> Callable[..., torch.optim.Optimizer]:
    """torch's own where bfloat16 is quick: on accelerators, and for larger matrices on a processor with units for it. It has one
    since 2.9, for matrices alone.
    """
    elsewhere = any(matrix.device.type != "cpu" for matrix in matrices)
    large = max(min(sides_of(matrix)) for matrix in matrices) > STACKED_UP_TO
    able = hasattr(torch.optim, "Muon") and all(matrix.ndim == 2 for matrix in matrices)
    if able and (elsewhere or (large and has_units_for_bfloat16())):
        return torch.optim.Muon
    from sadm.training.muon import StackedMuon

    return StackedMuon


def has_units_for_bfloat16() -> bool:
    """Whether this processor multiplies matrices of bfloat16 many times as fast as of float32; not where torch does not say."""
    known: Mapping[str, Any] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(known.get("amx_bf16"))


def block_matrices(net: nn.Module) -> list[nn.Parameter]:
    """The matrices and convolutions that learn within the blocks that a network repeats; not embeddings, or what leads into the
    first block and out of the last one."""
    return [
        parameter
        for block in blocks_of(net).values()
        for parameter in block.parameters()
        if parameter.requires_grad and parameter.ndim >= 2
    ]


def sides_of(matrix: torch.Tensor) -> tuple[int, int]:
    """Rows and columns of what `block_matrices` gives; a convolution's are its outputs, and all that one of them sees."""
    return len(matrix), matrix[0].numel()


def _adamw(parameters: list[nn.Parameter], config: OptimiserConfig) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        parameters, lr=config.learning_rate, betas=BETAS, weight_decay=config.weight_decay, fused=True
    )
