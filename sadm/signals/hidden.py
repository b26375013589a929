"""Structure between hidden activations: a layer arranges the patches of a batch as an encoder arranges the clean ones."""

from __future__ import annotations

from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.diffusion import Denoised
from sadm.signals.places import FeaturesAtPlaces, tokens_of
from sadm.signals.signal import SignalStep
from sadm.signals.taps import tapped
from sadm.structure import Schedule, StructureError, hidden_gap, processes_here
from sadm.structure.hidden import RATIO, WEIGHT


class HiddenStructureSignal:
    """Adds ``weight * gap`` between the relations of clean images' features and those of a hidden layer fed with x_t.

    All tokens of all images of the batch are one set, and it is related twice, by cosines: by what a frozen encoder sees of x0
    at a token's place, and by the tapped activation there; see `hidden_gap`. Relations have no unit of width, so the two are
    compared without a projector (as similarity-preserving distillation does, Tung & Mori 2019, arXiv 1907.09682).

    Where the structure game pulls x0_hat off the posterior mean, this signal leaves the rest point of a flexible network where
    it is: it enters below x0_hat, and asks for a representation, not for an image. Nobody plays against it. A
    `ratio` bounds it where it enters: no image's gradient there exceeds a share of what denoising asks of the same activation.
    Without one the signal rules a network that has learned nothing yet, whose denoising gradients are small behind an output of
    zeros. Logs ``hidden``, the gap; nothing while the signal rests.

    Args:
        target: what the encoder sees, at the grid of the tapped tokens; features without places are related to the mean token.
        tap: name of the network's module whose output is related: tokens [B, T, D], or a map [B, D, rows, columns] (a UNet's).
        weight: factor on the gap, >= 0.
        ratio: bound on the norm of an image's gradient at the tapped activation over that of denoising there, > 0; None = none.
        schedule: warm-up and end of weight and bound; None = always.
        every: take part in every k-th step only; 1 = in all.

    Raises:
        UserError: a negative weight, or a ratio that is not positive.
    """

    def __init__(
        self,
        target: FeaturesAtPlaces,
        tap: str,
        weight: float = WEIGHT,
        ratio: float | None = RATIO,
        schedule: Schedule | None = None,
        every: int = 1,
    ) -> None:
        if not weight >= 0:
            raise UserError(f"signal 'hidden' needs a weight >= 0, got {weight}.")
        if ratio is not None and not ratio > 0:
            raise UserError(f"signal 'hidden' needs a ratio above 0, or none, got {ratio}.")
        self.target, self.encoder, self.taps = target, target.encoder, (tap,)
        self.ratio = ratio
        self.weight, self.schedule, self.every = weight, schedule or Schedule(), every
        self.step = 0

    def __call__(self, denoised: Denoised, g_dsm: torch.Tensor) -> SignalStep:
        strength = self.schedule.strength(self.step, self.every)
        self.step += 1
        if strength == 0:
            return SignalStep(None, {})
        (tap,) = self.taps
        activation = tapped(denoised, tap)
        grid = self.target.grid(denoised.x0)
        features = self.target(denoised.x0, denoised.index)  # [B, T, d] or [B, d]
        leaf = activation.to(torch.promote_types(activation.dtype, torch.float32)).requires_grad_()
        # Relations lose their digits in half precision, so autocast stops at this door.
        try:
            with torch.enable_grad(), torch.autocast(leaf.device.type, enabled=False):
                gap = hidden_gap(features, tokens_of("hidden", tap, leaf, grid), processes_here())
                (gradient,) = torch.autograd.grad(gap, leaf)
        except StructureError as error:
            raise UserError(f"signal 'hidden' stopped at step {self.step - 1}: {error}.") from error
        at_tap = (self.weight * strength * gradient).to(activation.dtype)
        bound = None if self.ratio is None else strength * self.ratio
        return SignalStep(None, {"hidden": gap.detach()}, {tap: at_tap}, bound)

    def state_dict(self) -> dict[str, Any]:
        """The step and the encoder."""
        return {"step": self.step, "encoder": self.target.encoder.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.step = int(state["step"])
        self.target.encoder.load_state_dict(state["encoder"])
