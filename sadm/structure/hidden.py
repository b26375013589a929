"""Structure between hidden activations: what a layer makes of noisy images is arranged as an encoder sees the clean ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from sadm.structure.balance import within
from sadm.structure.errors import StructureError
from sadm.structure.gram import gram_gap
from sadm.structure.grids import on_grid, patch_grid
from sadm.structure.players.independence import refuse_mixing, suspects
from sadm.structure.processes import ALONE, Processes, processes_here
from sadm.structure.schedule import ALWAYS, Schedule
from sadm.structure.surrogate import gradient_of_loss, refuse_static_graph

WEIGHT = 5.0
"""Of the gap beside a denoising loss of order 1: benchmarks/structure."""
RATIO = 0.25
"""Bound on its gradient at the tapped output over that of denoising, image by image: benchmarks/structure."""
_REMEDY = (
    "Give the loss of the forward pass that the module ran in. Where torch.compile has the whole network, compile its blocks "
    "instead, and tap one as a whole"
)


def hidden_gap(features: torch.Tensor, activation: torch.Tensor, processes: Processes = ALONE) -> torch.Tensor:
    """The gap between clean images' features and an activation, all places of all images being one set.

    So a relation holds the arrangement of images against each other and that of places within an image. See `gram_gap`.

    Args:
        features: of the clean images [B, T, d], or [B, d], which are related to the mean activation.
        activation: of the noisy images [B, T, D].
        processes: each of which has a part of the images; see `gram_gap`.

    Returns:
        A scalar, at least float32.

    Raises:
        StructureError: shapes that do not fit, a single vector, NaN or infinity.
    """
    if features.ndim == 2:
        return gram_gap(features, activation.mean(1), processes)
    if features.shape[:2] != activation.shape[:2]:
        raise StructureError(
            f"features and activation must have the same images and places, got {tuple(features.shape)} and "
            f"{tuple(activation.shape)}"
        )
    return gram_gap(features.flatten(0, 1), activation.flatten(0, 1), processes)


class HiddenStructure:
    """Structure guidance in a hidden layer as one added line in any loop.

        hidden = HiddenStructure(encoder.trunk, net.blocks[-1])
        ...
        loss = loss + hidden(x0, loss)    # after the network's forward pass, before loss.backward()

    What it returns hangs in the network's graph, so gradient scaling, accumulation, DDP and accelerate go on as before; the
    images of one forward pass are related to each other, also those of other processes, whose gradients of the weights are
    averaged afterwards, as DDP and FSDP do. The network and its output are not touched: x0_hat is not pulled anywhere, unlike in
    `StructureGame`.

    Args:
        features: from clean images [B, C, H, W] to a map [B, d, H', W'], tokens [B, P, d] that run row by row over patches, or
            vectors [B, d] (places work better); called without gradients. A module is put into eval mode here, and must stay
            so; it sees images in the precision of its weights. Pre-train it on the training images: a small classifier will do.
        tap: the network's module whose output is related: tokens [B, T, D], or a map [B, D, H', W'].
        weight: factor on the gap, >= 0, beside a denoising loss of order 1.
        ratio: bound on the norm of an image's gradient at the tapped output over that of the denoising loss there, > 0. Without
            one (None; calls then need no loss) the gap rules a network that has learned nothing yet.
        schedule: warm-up and end, of weight and bound.
        every: take part in every k-th call only; 1 = in all.
        grid: rows and columns of the T tokens; None = square patches of the image.
        registers: tokens behind the T that are at no place of the image (arXiv 2309.16588); they are left out.

    Attributes:
        step: calls so far.
        last: the latest gap; None while it rests.

    Raises:
        StructureError: a weight, a ratio, `every` or `registers` out of range, or a module that mixes images even in eval mode.
    """

    def __init__(
        self,
        features: Callable[[torch.Tensor], torch.Tensor],
        tap: nn.Module,
        *,
        weight: float = WEIGHT,
        ratio: float | None = RATIO,
        schedule: Schedule = ALWAYS,
        every: int = 1,
        grid: tuple[int, int] | None = None,
        registers: int = 0,
    ) -> None:
        if not 0 <= weight < math.inf:
            raise StructureError(f"weight must be finite and at least 0, got {weight}")
        if ratio is not None and not 0 < ratio < math.inf:
            raise StructureError(f"ratio must be finite and above 0, or None, got {ratio}")
        if not isinstance(every, int) or every < 1:
            raise StructureError(f"every must be a whole number of steps, at least 1, got {every}")
        if not isinstance(registers, int) or registers < 0:
            raise StructureError(f"registers must be a whole number of tokens, at least 0, got {registers}")
        self._suspects = suspects(features.eval()) if isinstance(features, nn.Module) else []
        refuse_mixing(self._suspects, "encoder")
        self.features, self.weight, self.schedule, self.every, self.grid = features, weight, schedule, every, grid
        self.registers, self.ratio = registers, ratio
        self.step = 0
        self.last: torch.Tensor | None = None
        self._activation: torch.Tensor | None = None
        self._looked = False  # whether the graph was looked through for what would not bear the bound
        self._handle = tap.register_forward_hook(self._keep)

    def __call__(self, x0: torch.Tensor, loss: torch.Tensor | None = None) -> torch.Tensor:
        """``weight * gap`` for the images of the latest forward pass, in the network's graph; 0 while it rests.

        With a ratio, what is returned has the gradient of that within the bound, and a value without meaning: log `last`.

        Args:
            x0: those images without noise [B, C, H, W].
            loss: the denoising loss, a scalar in the same graph, as it will be added; for the bound alone.

        Raises:
            StructureError: no forward pass with gradients before it, a ratio and no loss that depends on the module, shapes that
                do not fit, features that are not a tensor, or a module that was put back into train mode and mixes images or
                draws numbers there.
        """
        strength = self._strength
        self.step += 1
        activation, self._activation, self.last = self._activation, None, None
        if strength == 0:
            return x0.new_zeros(())
        if activation is None:
            raise StructureError(
                "the tapped module has not run since the last call: call the network first, with gradients. (torch.compile of a "
                "whole network may leave hooks out: compile its blocks instead)"
            )
        if self.ratio is not None and loss is None:
            raise StructureError("the denoising loss is needed for the bound: hidden(x0, loss); or give ratio=None")
        output = activation
        if (
            self.ratio is not None
        ):  # a leaf: in half precision, the gap's small gradient would be rounded to nothing there
            activation = output.detach().to(torch.promote_types(output.dtype, torch.float32)).requires_grad_()
        leaf = activation
        grid, activation = _tokens(leaf, self.grid, (x0.shape[2], x0.shape[3]), self.registers)
        with torch.no_grad():
            features = on_grid(self._seen(x0), grid, (x0.shape[2], x0.shape[3]))
        with torch.autocast(activation.device.type, enabled=False):  # relations lose their digits in half precision
            gap = hidden_gap(features, activation, processes_here())
        self.last = gap.detach()
        wanted = self.weight * strength * gap
        if self.ratio is None or loss is None:
            return wanted
        return self._bounded(wanted, leaf, output, loss, strength * self.ratio)

    def remove(self) -> None:
        """Takes the hook off the network."""
        self._handle.remove()

    def state_dict(self) -> dict[str, Any]:
        """The number of calls; the features are yours to keep."""
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.step = int(state["step"])

    @property
    def _strength(self) -> float:
        return self.schedule.strength(self.step, self.every)

    def _seen(self, x0: torch.Tensor) -> torch.Tensor:
        refuse_mixing(self._suspects, "encoder")
        if isinstance(self.features, nn.Module):
            weight = next((p for p in self.features.parameters() if p.is_floating_point()), x0)
            x0 = x0.to(weight.dtype)
        with torch.autocast(x0.device.type, enabled=False):
            features = self.features(x0)
        if not isinstance(features, torch.Tensor):
            raise StructureError(
                f"features must give a tensor [B, d, H, W], [B, P, d] or [B, d], they gave {type(features).__name__}"
            )
        return features

    def _bounded(
        self, wanted: torch.Tensor, leaf: torch.Tensor, output: torch.Tensor, loss: torch.Tensor, ratio: float
    ) -> torch.Tensor:
        (pull,) = torch.autograd.grad(wanted, leaf)
        if processes_here().count > 1 and not self._looked:
            refuse_static_graph(loss)
            self._looked = True
        reaching = gradient_of_loss(loss, output, output, "the tapped module's output", _REMEDY)
        pull, reaching, places = (_of_places(values, self.registers) for values in (pull, reaching, output))
        return (within(pull, reaching, ratio) * places.to(pull.dtype)).sum()

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if torch.is_grad_enabled() and self._strength:  # not while sampling: an activation held is a graph held
            self._activation = output[0] if isinstance(output, tuple) else output


def _tokens(
    activation: torch.Tensor, grid: tuple[int, int] | None, image: tuple[int, int], registers: int
) -> tuple[tuple[int, int], torch.Tensor]:
    """Rows and columns of an activation's places, and the activation as [B, T, D]."""
    if activation.ndim == 4:
        return (activation.shape[2], activation.shape[3]), activation.flatten(2).mT
    if activation.ndim != 3:
        raise StructureError(f"expected an activation [B, T, D] or [B, D, H, W], got {tuple(activation.shape)}")
    activation = _of_places(activation, registers)
    grid = grid or patch_grid(activation.shape[1], image)
    if grid[0] * grid[1] != activation.shape[1]:
        raise StructureError(f"a grid of {grid[0]} x {grid[1]} places does not fit {activation.shape[1]} tokens")
    return grid, activation


def _of_places(values: torch.Tensor, registers: int) -> torch.Tensor:
    """Of tokens [B, T + registers, D] the first T; a map as it is."""
    return values[:, : max(values.shape[1] - registers, 0)] if values.ndim == 3 else values
