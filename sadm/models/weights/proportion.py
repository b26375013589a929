"""Whether the sizes that a file claims for a network are those of its weights, found out before anything of that size is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sadm.core.errors import UserError


def check_proportion(parameters: float, available: int, where: str | Path) -> None:
    """Refuses a description of more parameters than there are weights.

    Args:
        parameters: of the network that is described, at least.
        available: numbers, or bytes, of the weights.
        where: the description, for the message.

    Raises:
        UserError: there are more, or no number of them.
    """
    if not parameters <= available:  # so written, NaN is refused, too
        raise UserError(
            f"{where} describes a network of {parameters:.3g} parameters or more, and the weights beside it are {available:,}. "
            "They do not belong together: restore the files, or download them again."
        )


def transformer_parameters(
    width: float, depth: float, mlp_ratio: float, patch: float, shape: tuple[float, float, float]
) -> float:
    """Parameters of a DiT's blocks and of its first layer, as floats, which any claim fits into."""
    width, patch = float(width), float(patch)
    return float(depth) * (10 + 2 * mlp_ratio) * width**2 + width * float(shape[0]) * patch**2


def convolution_parameters(channels: Any, layers: Any) -> float:
    """Parameters of the convolutions in one half of a UNet or an autoencoder; NaN where the sizes are no sizes."""
    try:
        sizes = [float(size) for size in channels]
        return sum(float(layers) * 9 * size**2 for size in sizes)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def are_real(tensors: Mapping[Any, Any]) -> bool:
    """Whether each tensor has a number in memory for each of its entries: a stride of 0 makes billions of one."""
    return all(_is_real(tensor) for tensor in tensors.values() if isinstance(tensor, torch.Tensor))


def _is_real(tensor: torch.Tensor) -> bool:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
