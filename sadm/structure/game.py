"""The game itself: who takes part, how strongly, and for how long."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from sadm.structure.balance import balance_coefficients
from sadm.structure.discriminator import StructureDiscriminator
from sadm.structure.errors import StructureError
from sadm.structure.noise_levels import noisiest, wiener_weight
from sadm.structure.relations import Relation


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When the game is played, in steps: linear warm-up of its strength, then full strength, then an end.

    Attributes:
        warmup: steps over which the ratio grows from 0.
        end: first step without the game; None = never ends.
    """

    warmup: int = 0
    end: int | None = None

    def strength(self, step: int) -> float:
        """In [0, 1]; 0 = the game rests and costs nothing."""
        if self.end is not None and step >= self.end:
            return 0.0
        return min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0


@dataclasses.dataclass(frozen=True)
class Play:
    """One step of the game.

    Attributes:
        gradient: scaled structure gradient at x0_hat [B, C, H, W]; zero for images that did not take part.
        gap: structure gap before the adversary's step, a scalar.
        k: balance coefficients of the images that took part [m].
        g_dsm: their mean gradient norm of the denoising loss, a scalar.
        g_gap: their mean gradient norm of the gap, before balancing, a scalar.
        g_structure: the same after balancing, a scalar.
    """

    gradient: torch.Tensor
    gap: torch.Tensor
    k: torch.Tensor
    g_dsm: torch.Tensor
    g_gap: torch.Tensor
    g_structure: torch.Tensor


class StructureGame:
    """Structure-guided adversarial training as one added line in any loop.

    The gradient of the loss at the network's output is all that is taken from it, so gradient scaling, accumulation and
    accelerate go on as before. The game keeps its own optimiser; do not hand the encoder to yours.

    Args:
        encoder: images [B, C, H, W] to embeddings [B, d]; pre-train it on the training images, a random one hurts.
        relation: ``cosine``, ``euclidean``, or a callable (see `sadm.structure.relations`).
        penalty: ``squared`` or ``huber``.
        adversary: ``ascend`` (the encoder plays against the denoiser) or ``frozen``.
        learning_rate: of the adversary.
        pull: of the adversary towards its starting weights.
        ratio: norm of the structure gradient over that of the denoising gradient, per image, in [0, 1).
        k_max: bound on the balance coefficients; 1 = clip only, inf = normalise.
        fraction: share of the batch, the noisiest images, that takes part, in (0, 1].
        noise_weight: noise levels [B] to weights [B] of those images.
        schedule: warm-up and end.

    Raises:
        StructureError: a value out of range, or an encoder that can't be used.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        relation: str | Relation = "cosine",
        penalty: str = "squared",
        adversary: str = "ascend",
        learning_rate: float = 2e-5,
        pull: float = 0.0,
        ratio: float = 0.5,
        k_max: float = math.inf,
        fraction: float = 1 / 3,
        noise_weight: Callable[[torch.Tensor], torch.Tensor] = wiener_weight,
        schedule: Schedule = Schedule(),
    ) -> None:
        if not 0 <= ratio < 1:
            raise StructureError(f"ratio must lie in [0, 1), got {ratio}")
        if not 0 < fraction <= 1:
            raise StructureError(f"fraction must lie in (0, 1], got {fraction}")
        if not k_max > 0:
            raise StructureError(f"k_max must be positive, got {k_max}")
        self.discriminator = StructureDiscriminator(encoder, relation, penalty, adversary, learning_rate, pull)
        self.ratio, self.k_max, self.fraction = ratio, k_max, fraction
        self.noise_weight, self.schedule = noise_weight, schedule
        self.step = 0
        self.last: Play | None = None

    def __call__(
        self,
        loss: torch.Tensor,
        x0: torch.Tensor,
        x0_hat: torch.Tensor,
        sigma: torch.Tensor,
        output: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Plays one step and returns what to add to the loss: ``sum_i <k_i g_gap_i (detached), x0_hat_i>``.

        The value of that term means nothing; its gradient does. `last` holds the step's measurements.

        Args:
            loss: the denoising loss, a scalar in the graph of `output`.
            x0: clean images [B, C, H, W].
            x0_hat: their estimates [B, C, H, W], in the network's graph.
            sigma: noise levels [B] (for another process: anything that orders images by noise, in units of sigma).
            output: the network's raw output [B, ...] when the loss is computed from that instead of from x0_hat, as in
                eps- or v-prediction; gradients are then balanced there.

        Returns:
            A scalar; zero without a graph when the game rests.

        Raises:
            StructureError: what `play` refuses, or tensors that do not hang together in one graph.
        """
        if self.schedule.strength(self.step) == 0:
            self.step += 1
            self.last = None
            return loss.new_zeros(())
        place = x0_hat if output is None else output
        name = "x0_hat" if output is None else "output"
        for role, tensor in (("the loss", loss), ("x0_hat", x0_hat), (name, place)):
            if not tensor.requires_grad:
                raise StructureError(f"{role} is detached; the game needs it in the network's graph")
        (g_dsm,) = torch.autograd.grad(loss, place, retain_graph=True, allow_unused=True)
        if g_dsm is None:
            raise StructureError(
                f"the loss does not depend on {name}. If it is computed from the network's raw output (eps or v), pass that "
                "as output=..."
            )
        pull_back = None if output is None else _pull_back(x0_hat, output)
        play = self.play(x0, x0_hat.detach(), sigma, g_dsm, pull_back)
        return (play.gradient * x0_hat).sum()

    def play(
        self,
        x0: torch.Tensor,
        x0_hat: torch.Tensor,
        sigma: torch.Tensor,
        g_dsm: torch.Tensor,
        pull_back: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> Play:
        """Plays one step from tensors alone: both players' gradients from one encoder pass, then the adversary's step.

        Args:
            x0: clean images [B, C, H, W].
            x0_hat: estimates [B, C, H, W], detached.
            sigma: noise levels [B].
            g_dsm: gradient of the denoising loss at x0_hat [B, C, H, W], or at the place that `pull_back` leads to.
            pull_back: takes a gradient at x0_hat to the place of `g_dsm`, where the norms are compared.

        Raises:
            StructureError: fewer than 2 images, shapes that do not fit, NaN or infinity; no weight has changed then.
        """
        _check_batch(x0, x0_hat, sigma)
        _check_finite({"x0": x0, "x0_hat": x0_hat, "sigma": sigma, "g_dsm": g_dsm})
        strength = self.schedule.strength(self.step)
        chosen = noisiest(sigma, self.fraction)  # [m]
        gap, g_gap = self.discriminator.gap_and_gradient(x0[chosen], x0_hat[chosen], self.noise_weight(sigma[chosen]))
        _check_finite({"the structure gap": gap, "its gradient": g_gap})
        full = torch.zeros_like(x0_hat, dtype=g_gap.dtype).index_copy_(0, chosen, g_gap)  # [B, C, H, W]
        moved = full if pull_back is None else pull_back(full.to(x0_hat.dtype))
        if g_dsm.shape != moved.shape:
            raise StructureError(f"expected g_dsm of shape {tuple(moved.shape)}, got {tuple(g_dsm.shape)}")
        compared = moved[chosen]
        k = balance_coefficients(g_dsm[chosen], compared, self.ratio * strength, self.k_max)  # [m]
        full[chosen] = k.reshape(-1, *[1] * (x0_hat.ndim - 1)).to(g_gap.dtype) * g_gap
        self.discriminator.ascend()
        self.step += 1
        balanced = k * _norms(compared)  # [m]
        self.last = Play(
            full.to(x0_hat.dtype), gap, k, _norms(g_dsm[chosen]).mean(), _norms(compared).mean(), balanced.mean()
        )
        return self.last

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on: the step, the encoder and its optimiser."""
        return {"step": self.step, "discriminator": self.discriminator.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.step = int(state["step"])
        self.discriminator.load_state_dict(state["discriminator"])


def _check_batch(x0: torch.Tensor, x0_hat: torch.Tensor, sigma: torch.Tensor) -> None:
    if x0.shape != x0_hat.shape or sigma.shape != x0.shape[:1]:
        raise StructureError(
            "expected x0 and x0_hat of equal shape [B, C, H, W] and sigma [B]; got "
            f"{tuple(x0.shape)}, {tuple(x0_hat.shape)} and {tuple(sigma.shape)}"
        )
    if len(x0) < 2:
        raise StructureError(
            "structure is about pairs: the batch holds 1 image, at least 2 are needed. Use a larger batch"
        )
    if (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    ):
        raise StructureError(
            "this version plays the game in one process only: with several, the encoders would drift apart. Train with one"
        )


def _check_finite(tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise StructureError(f"{name} holds NaN or infinite values; the game stops before they reach the weights")


def _pull_back(x0_hat: torch.Tensor, output: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    def apply(gradient: torch.Tensor) -> torch.Tensor:
        (moved,) = torch.autograd.grad(x0_hat, output, gradient, retain_graph=True, allow_unused=True)
        if moved is None:
            raise StructureError("x0_hat does not depend on output; pass the tensor that x0_hat is computed from")
        return moved

    return apply


def _norms(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.flatten(1).to(torch.promote_types(gradient.dtype, torch.float32)).norm(dim=1)  # [B]
