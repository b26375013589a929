"""The parts of a network that fine-tuning methods act on, found by the types of its modules, whatever their names."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator

from torch import nn

from sadm.core.errors import UserError
from sadm.models.dit import Attention, DiTBlock, Mlp
from sadm.models.modern import SwiGlu

MATRICES = (nn.Linear, nn.Conv2d)


@dataclasses.dataclass(frozen=True)
class Branch:
    """A residual branch of a network.

    Attributes:
        name: of the module, in the network.
        module: the module.
        output: name, inside the module, of the linear layer or convolution that gives what is added to the stream.
        pointwise: whether it treats each token or place by itself, as an MLP does.
    """

    name: str
    module: nn.Module
    output: str
    pointwise: bool


@dataclasses.dataclass(frozen=True)
class _Kind:
    output: str
    pointwise: bool


_BRANCHES: dict[type[nn.Module], _Kind] = {
    Attention: _Kind("proj", False),
    Mlp: _Kind("fc2", True),
    SwiGlu: _Kind("w3", True),
}
_BLOCKS: list[type[nn.Module]] = [DiTBlock]


def register_branch(module: type[nn.Module], output: str, *, pointwise: bool) -> None:
    """Makes a further type of module known as a residual branch.

    Args:
        module: its type.
        output: name, inside the module, of the linear layer or convolution that gives what is added to the stream.
        pointwise: whether it treats each token or place by itself, as an MLP does.
    """
    _BRANCHES[module] = _Kind(output, pointwise)


def register_block(module: type[nn.Module]) -> None:
    """Makes a further type of module known as a transformer block: its first argument and its result are tokens [B, T, D]."""
    if module not in _BLOCKS:
        _BLOCKS.append(module)


def branches(net: nn.Module) -> list[Branch]:
    """The residual branches of a network, in its own order.

    Raises:
        UserError: it has none of a known type.
    """
    _register_diffusers()
    found = [
        Branch(name, module, kind.output, kind.pointwise)
        for name, module in net.named_modules()
        if (kind := _kind_of(module)) is not None
    ]
    if not found:
        raise UserError(
            f"no residual branches were found in this {type(net).__name__}: attention and MLPs of our DiT and the blocks of "
            "diffusers are known. In Python, register_branch makes others known; --finetune.method full and bitfit need none."
        )
    return found


def blocks(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """The transformer blocks of a network, with their names.

    Raises:
        UserError: it has none of a known type.
    """
    _register_diffusers()
    kinds = tuple(_BLOCKS)
    found = [(name, module) for name, module in net.named_modules() if isinstance(module, kinds)]
    if not found:
        raise UserError(
            f"no transformer blocks were found in this {type(net).__name__}, so there is nothing to put learned tokens into. "
            "Choose another --finetune.method, such as lora."
        )
    return found


def matrices(branch: Branch) -> Iterator[tuple[str, nn.Module]]:
    """The linear layers and convolutions of a branch, with their names in the network."""
    for name, module in branch.module.named_modules(prefix=branch.name):
        if isinstance(module, MATRICES):
            yield name, module


def replace(net: nn.Module, name: str, module: nn.Module) -> None:
    """Puts `module` in the place `name` of a network."""
    parent, _, own = name.rpartition(".")
    setattr(net.get_submodule(parent), own, module)


def _kind_of(module: nn.Module) -> _Kind | None:
    return next((kind for known, kind in _BRANCHES.items() if isinstance(module, known)), None)


def _register_diffusers() -> None:
    """diffusers' blocks, where a network of diffusers can be there at all: the package is not imported for this."""
    if "diffusers" not in sys.modules:
        return
    from diffusers.models.attention import BasicTransformerBlock, FeedForward
    from diffusers.models.attention_processor import Attention as TheirAttention
    from diffusers.models.resnet import ResnetBlock2D

    register_branch(TheirAttention, "to_out.0", pointwise=False)
    register_branch(FeedForward, "net.2", pointwise=True)
    register_branch(ResnetBlock2D, "conv2", pointwise=False)
    register_block(BasicTransformerBlock)
