"""Controls that compare each image with its own target, under the same rules as the structure game."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from sadm.core.errors import UserError
from sadm.diffusion import Denoised
from sadm.diffusion.denoised import per_image
from sadm.signals.embeddings import dtype_of
from sadm.signals.signal import SignalStep
from sadm.structure import (
    Part,
    Processes,
    Schedule,
    StructureError,
    coefficients_of_norms,
    noisiest,
    processes_here,
    wiener_weight,
)
from sadm.structure.balance import IMAGE, Ratio, norms, ratios_at
from sadm.structure.noise_levels import Choice


@dataclasses.dataclass(frozen=True)
class Balancing:
    """Which images a signal pulls at, how hard, and when: the options of `StructureGame` of the same names.

    Attributes:
        ratio: norm of an image's gradient over that of its denoising gradient, in [0, 1), or a callable of noise levels.
        balance: whether each ``image`` is held to the ratio, or the ``batch``.
        k_max: bound on the balance coefficients; 1 = clip only, inf = normalise.
        fraction: share of the batch, in (0, 1].
        choose: which images these are.
        noise_weight: noise levels [B] to weights [B] of those images in the mean loss.
        schedule: warm-up and end of the ratio.
        every: take part in every k-th step only; 1 = in all.
    """

    ratio: Ratio = 0.5
    balance: str = IMAGE
    k_max: float = math.inf
    fraction: float = 1 / 3
    choose: Choice = noisiest
    noise_weight: Callable[[torch.Tensor], torch.Tensor] = wiener_weight
    schedule: Schedule = dataclasses.field(default_factory=Schedule)
    every: int = 1

    def strength(self, step: int) -> float:
        """Share of the ratio in force at `step`; 0 = the signal rests."""
        return self.schedule.strength(step, self.every)


class PointwiseLoss(Protocol):
    """A module that owns frozen networks and gives one loss for each image."""

    def __call__(self, x0: torch.Tensor, x0_hat: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        """Losses [m] of estimates x0_hat [m, C, H, W] of images x0 [m, C, H, W] with labels [m]."""
        ...


class PointwiseSignal:
    """Pulls each image's x0_hat by the gradient of its own loss, balanced at x0_hat as the structure game is.

    The loss is ``sum_i w_i l_i / sum_i w_i`` over the chosen images, so that what differs from the game is l alone.

    Logs the loss under `name` and, over the images that took part, the mean gradient norms ``g_dsm`` (denoising),
    ``g_NAME_raw`` and ``g_NAME`` (balanced); nothing while the signal rests.

    Args:
        name: of the signal.
        loss: a module with the call of `PointwiseLoss`; it is frozen here.
        balancing: how the loss takes part.
    """

    def __init__(self, name: str, loss: nn.Module, balancing: Balancing) -> None:
        self.name, self.loss, self.balancing = name, loss.eval().requires_grad_(False), balancing
        self.encoder = getattr(loss, "encoder", None)
        self.step = 0

    def __call__(self, denoised: Denoised, g_dsm: torch.Tensor) -> SignalStep:
        strength = self.balancing.strength(self.step)
        self.step += 1
        if strength == 0:
            return SignalStep(None, {})
        part, rules = processes_here().part(len(denoised.x0), denoised.x0.device), self.balancing
        of_all = part.rows(denoised.sigma)
        places = rules.choose(of_all, rules.fraction)  # [m], in the batch of all processes
        seats, chosen = part.chosen(places)  # [n], here
        try:
            value, raw = self._loss_and_gradient(denoised, chosen, part.processes)
            # Of all m images that take part, in all processes.
            of_loss, of_own = (seats.rows(norms(g)) / part.processes.count for g in (g_dsm[chosen], raw))
            ratio = ratios_at(rules.ratio, of_all[places]) * strength
            k = coefficients_of_norms(of_loss, of_own, ratio, rules.k_max, rules.balance)
        except StructureError as error:
            raise UserError(f"signal '{self.name}' stopped at step {self.step - 1}: {error}.") from error
        pull = per_image(seats.own(k).to(raw.dtype), raw) * raw  # [n, C, H, W]
        gradient = torch.zeros_like(g_dsm).index_copy_(0, chosen, pull.to(g_dsm.dtype))  # [B, C, H, W]
        log = {
            self.name: value,
            "g_dsm": of_loss.mean(),
            f"g_{self.name}_raw": of_own.mean(),
            f"g_{self.name}": (k * of_own).mean(),
        }
        return SignalStep(gradient, log)

    def _loss_and_gradient(
        self, denoised: Denoised, chosen: torch.Tensor, processes: Processes
    ) -> tuple[torch.Tensor, torch.Tensor]:
        shown, count = Part.shown(chosen), len(chosen)
        x0, label = denoised.x0[shown], None if denoised.label is None else denoised.label[shown]
        weight = self.balancing.noise_weight(denoised.sigma[chosen])  # [m]
        dtype = dtype_of(self.loss)
        leaf = denoised.x0_hat[shown].detach().to(dtype).requires_grad_()  # [m, C, H, W]
        # Normalised embeddings and log-softmax lose their digits in half precision, so autocast stops at this door.
        with torch.enable_grad(), torch.autocast(leaf.device.type, enabled=False):
            losses = self.loss(x0.to(dtype), leaf, label)[:count]  # [m]
            value = processes.sum((weight * losses).sum())
            value = value / processes.sum(weight.sum()).clamp_min(torch.finfo(losses.dtype).tiny)
            (gradient,) = torch.autograd.grad(value, leaf)
        return value.detach(), gradient[:count]

    def state_dict(self) -> dict[str, Any]:
        """The step and the frozen networks."""
        return {"step": self.step, "loss": self.loss.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.step = int(state["step"])
        self.loss.load_state_dict(state["loss"])
