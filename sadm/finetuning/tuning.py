"""Fine-tuning methods on a network: what learns, what is kept, and back to plain weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import nn

from sadm.core.errors import UserError
from sadm.finetuning.bottleneck import Bottleneck, add_bottlenecks
from sadm.finetuning.branches import replace
from sadm.finetuning.config import FinetuneConfig
from sadm.finetuning.lora import add_low_rank, is_low_rank, merged_low_rank
from sadm.finetuning.prompts import Prompted, add_prompts
from sadm.finetuning.scales import Scaled, add_scales
from sadm.models.weights.filling import some

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
BESIDE = (Prompted, Bottleneck)
"""Modules of methods that can't be folded into plain weights."""


def tune(net: nn.Module, config: FinetuneConfig, also: Iterable[str] = ()) -> None:
    """Prepares a network for a method, in place: adds its modules, and leaves only what is to learn with ``requires_grad``.

    Until the first step, the network computes what it did before (but for learned tokens, which attention sees at once).
    Modules are found by type, not by name (`branches`). What a method adds is initialised from torch's global generator.

    Args:
        net: a plain network.
        config: the method.
        also: names of modules that learn with every method, such as those that had to be initialised anew. Class tables
            (`nn.Embedding`) always do.

    Raises:
        UserError: the network has nothing that the method could act on.
    """
    if config.method == "full":
        return
    also = [*also, *class_tables(net)]
    net.requires_grad_(False)
    METHODS[config.method](net, config)
    for name in also:
        net.get_submodule(name).requires_grad_()
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise UserError(
            f"--finetune.method {config.method} finds nothing in this {type(net).__name__} that could learn. Choose another."
        )


def class_tables(net: nn.Module) -> list[str]:
    """Names of the modules that embed classes."""
    return [name for name, module in net.named_modules() if isinstance(module, nn.Embedding)]


def learned(net: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name."""
    return {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}


def state_without(net: nn.Module, frozen: Iterable[str]) -> dict[str, torch.Tensor]:
    """The network's state but for parameters of these names."""
    left_out = set(frozen)
    return {name: tensor for name, tensor in net.state_dict().items() if name not in left_out}


def load_learned(net: nn.Module, tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Copies tensors into the parameters that learn.

    Args:
        net: a network as `tune` left it.
        tensors: by the names of its parameters.
        source: what messages call the file.

    Raises:
        UserError: a tensor is missing, too many, or of another shape: they belong to another model.
    """
    own = learned(net)
    missing, strange = [name for name in own if name not in tensors], [name for name in tensors if name not in own]
    misfit = [name for name in own if name in tensors and own[name].shape != tensors[name].shape]
    for what, names in (("lacks", missing), ("has no place here for", strange), ("has another size of", misfit)):
        if names:
            raise UserError(
                f"{source} {what} {some(names)}: it was trained on another model, or with another method. Give the model that "
                "it was fine-tuned from."
            )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[name])


@dataclasses.dataclass(frozen=True)
class Merged:
    """A network whose method was folded into plain weights.

    Attributes:
        net: the network.
        replaced: what stood where, by name.
    """

    net: nn.Module
    replaced: Mapping[str, nn.Module]

    def undo(self) -> None:
        """Puts back what was replaced; the network is then what it was, bit for bit."""
        for name, module in self.replaced.items():
            replace(self.net, name, module)


def merge(net: nn.Module) -> Merged:
    """Folds a method into plain weights, in place: no module of its own is left, and sampling costs what it did before.

    Raises:
        UserError: the method can't be folded (vpt, adapter).
    """
    fixed = [name for name, module in net.named_modules() if isinstance(module, BESIDE)]
    if fixed:
        raise UserError(
            f"{some(fixed)} can't be folded into the network's weights: learned tokens and adapters stay beside them."
        )
    found = {name: module for name, module in net.named_modules() if isinstance(module, Scaled) or is_low_rank(module)}
    for name, module in found.items():
        replace(net, name, module.merged() if isinstance(module, Scaled) else merged_low_rank(module))
    return Merged(net, found)


def _free_biases(net: nn.Module, config: FinetuneConfig) -> None:
    """Every bias, also those inside larger modules (``in_proj_bias``)."""
    for module in net.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if name == "bias" or name.endswith("_bias"):
                parameter.requires_grad_()


def _difffit(net: nn.Module, config: FinetuneConfig) -> None:
    _free_biases(net, config)
    for module in net.modules():
        if isinstance(module, NORMS):
            module.requires_grad_()
    add_scales(net)


METHODS: dict[str, Callable[[nn.Module, FinetuneConfig], None]] = {
    "lora": add_low_rank,
    "dora": add_low_rank,
    "difffit": _difffit,
    "bitfit": _free_biases,
    "vpt": lambda net, config: add_prompts(net, config.prompts),
    "adapter": lambda net, config: add_bottlenecks(net, config.rank, config.adapter_scale),
}


def share_that_learns(net: nn.Module) -> tuple[int, int]:
    """How many parameters learn, and how many there are."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in net.parameters()]
    return sum(size for size, learns in sizes if learns), sum(size for size, _ in sizes)
