"""What the game takes from a foreign loop's graph: gradients at the network's output, and nothing behind it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sadm.structure.errors import StructureError


def gradient_of_loss(loss: torch.Tensor, x0_hat: torch.Tensor, place: torch.Tensor, name: str) -> torch.Tensor:
    """The loss's gradient at `place` [B, ...], at least float32; the graph stays.

    Args:
        loss: a scalar.
        x0_hat: estimates [B, C, H, W].
        place: x0_hat itself, or the network's raw output.
        name: of the place, for messages.

    Raises:
        StructureError: tensors that do not hang together in one graph.
    """
    if loss.numel() != 1:
        raise StructureError(
            f"expected a scalar loss, got shape {tuple(loss.shape)}: the game is balanced against the gradient of what is "
            "minimised. Take the mean first"
        )
    for role, tensor in (("the loss", loss), ("x0_hat", x0_hat), (name, place)):
        if not tensor.requires_grad:
            raise StructureError(f"{role} is detached; the game needs it in the network's graph")
    # The mean over a batch's elements leaves numbers that float16 rounds to nothing, so there they are enlarged on the way.
    scale = float(2 ** (place.numel().bit_length() - 1)) if place.dtype == torch.float16 else 1.0
    for factor in dict.fromkeys((scale, 1.0)):
        (gradient,) = torch.autograd.grad(
            loss, place, torch.full_like(loss, factor), retain_graph=True, allow_unused=True
        )
        if gradient is None:
            raise StructureError(
                f"the loss does not depend on {name}. If it is computed from the network's raw output (eps or v), pass that "
                "as output=..."
            )
        if factor == 1.0 or bool(gradient.isfinite().all()):
            break
    return gradient.to(torch.promote_types(gradient.dtype, torch.float32)) / factor


def pull_back_to(x0_hat: torch.Tensor, output: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function that takes a gradient at x0_hat [B, C, H, W] to `output` [B, ...], at least float32; the graph stays."""

    def apply(gradient: torch.Tensor) -> torch.Tensor:
        # By a power of two, which costs no digits: float16 would round a small gradient to nothing.
        size = torch.ldexp(gradient.new_ones(()), torch.frexp(gradient.abs().max()).exponent)
        scaled = (gradient / size).to(x0_hat.dtype)
        (moved,) = torch.autograd.grad(x0_hat, output, scaled, retain_graph=True, allow_unused=True)
        if moved is None:
            raise StructureError("x0_hat does not depend on output; pass the tensor that x0_hat is computed from")
        return moved.to(torch.promote_types(moved.dtype, torch.float32)) * size

    return apply
