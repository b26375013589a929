"""An encoder must treat each image by itself, and the same way twice: what breaks that is found by its type.

Code that calls ``torch.nn.functional.dropout`` by itself can't be seen.
"""

from __future__ import annotations

from torch import nn

from sadm.structure.errors import StructureError

_DROPS_BY_NAME = ("DropPath", "StochasticDepth")  # of timm, torchvision and others


def suspects(encoder: nn.Module) -> list[tuple[str, nn.Module]]:
    """Modules, with their names, that mix images or draw random numbers when they are in train mode."""
    return [(name, module) for name, module in encoder.named_modules() if _mixes(module) or _is_random(module)]


def refuse_mixing(modules: list[tuple[str, nn.Module]], owner: str = "discriminator") -> None:
    """Refuses modules that would mix images or draw random numbers if they were called now.

    Args:
        modules: from `suspects`.
        owner: what they belong to, for messages.

    Raises:
        StructureError: one of them is in train mode, or mixes images in any mode; the message names it.
    """
    for name, module in modules:
        always = isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
        if not (module.training or always):
            continue
        harm = "mixes real and denoised images" if _mixes(module) else "makes the gap random"
        remedy = "" if always else "call its .eval(), "
        raise StructureError(
            f"the {owner}'s module '{name}' is a {type(module).__name__} "
            f"{'without running statistics' if always else 'in train mode'}: it {harm}. To repair that, {remedy}use group or "
            "layer norm and no dropout"
        )


def _mixes(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def _is_random(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, (nn.MultiheadAttention, nn.RNNBase)):
        return module.dropout > 0
    if type(module).__name__ in _DROPS_BY_NAME:
        return (getattr(module, "drop_prob", None) or getattr(module, "p", None) or 0) > 0
    return isinstance(module, nn.RReLU)
