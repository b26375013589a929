"""What the game takes from a foreign loop's graph: gradients at the network's output, and nothing behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from sadm.structure.errors import StructureError

OUTPUT_REMEDY = "If it is computed from the network's raw output (eps or v), pass that as output=..."


def gradient_of_loss(
    loss: torch.Tensor, x0_hat: torch.Tensor, place: torch.Tensor, name: str, remedy: str = OUTPUT_REMEDY
) -> torch.Tensor:
    """The loss's gradient at `place` [B, ...], at least float32; the graph stays.

    Args:
        loss: a scalar.
        x0_hat: estimates [B, C, H, W].
        place: x0_hat itself, or the network's raw output.
        name: of the place, for messages.
        remedy: what to do where the loss does not depend on it.

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
    # The mean over a batch's elements leaves numbers that float16 rounds to nothing, here or in the layers behind, so they are
    # enlarged on the way, by a power of two, which costs no digits.
    scale = float(2 ** (place.numel().bit_length() - 1))
    for factor in dict.fromkeys((scale, 1.0)):
        (gradient,) = torch.autograd.grad(
            loss, place, torch.full_like(loss, factor), retain_graph=True, allow_unused=True
        )
        if gradient is None:
            raise StructureError(f"the loss does not depend on {name}. {remedy}")
        if factor == 1.0 or bool(gradient.isfinite().all()):
            break
    return gradient.to(torch.promote_types(gradient.dtype, torch.float32)) / factor


def refuse_static_graph(loss: torch.Tensor) -> None:
    """Refuses a loss behind `DistributedDataParallel(static_graph=True)`, whose graph can't be walked twice in a step.

    The first walk through it, also one that fills no gradient, starts DDP's reduction; gradients would never be averaged.

    Raises:
        StructureError: it is behind one.
    """
    seen, open_ = set(), [loss.grad_fn]
    while open_:
        node: Any = open_.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        ddp = getattr(node, "ddp_weakref", None)
        module = ddp() if callable(ddp) else None
        if getattr(module, "static_graph", False):
            raise StructureError(
                "the network is in DistributedDataParallel with static_graph=True, which takes the measuring of this gradient "
                "for the backward pass, and would average no gradient. Use static_graph=False, or ratio=None"
            )
        open_ += [following for following, _ in node.next_functions]


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
