"""Alignment of a hidden layer with an encoder's features of the clean image."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from sadm.core.errors import UserError
from sadm.diffusion import Denoised
from sadm.signals.places import FeaturesAtPlaces, tokens_of
from sadm.signals.signal import SignalStep
from sadm.signals.taps import tapped
from sadm.structure import processes_here


def build_projector(width: int, hidden: int, features: int) -> nn.Sequential:
    """The projector of the paper's published code: three linear layers, SiLU between them; [..., width] -> [..., features]."""
    return nn.Sequential(
        nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, features)
    )


class RepaSignal:
    """Adds ``weight * L`` with ``L = -mean_{i,n} cos(E(x0_i)[n], projector(h_i[n]))`` over images i and places n.

    Representation alignment (Yu et al. 2025, arXiv 2410.06940): the hidden layer h of the denoiser, fed with x_t, is to carry
    what a frozen encoder E sees in x0. E's features are averaged to the grid of tokens (repeated, where they are coarser);
    features without places are matched by the mean token. The projector learns along, by Adam of its own.

    Differences from the paper: E is the small encoder of the structure game, not a foundation model, so that the arms are
    compared at equal knowledge. There is no gradient at x0_hat that could be balanced. Logs ``repa``, the loss L in [-1, 1].

    Args:
        target: what is matched, at the grid of the tapped tokens.
        projector: from the tapped width to d; see `build_projector`.
        tap: name of the network's module whose output is aligned: tokens [B, T, D], or a map [B, D, rows, columns] (a UNet's).
        weight: factor on the loss, >= 0; the paper's 0.5.
        learning_rate: of the projector.

    Raises:
        UserError: a negative weight.
    """

    def __init__(
        self,
        target: FeaturesAtPlaces,
        projector: nn.Module,
        tap: str,
        weight: float = 0.5,
        learning_rate: float = 1e-3,
    ) -> None:
        if not weight >= 0:
            raise UserError(f"signal 'repa' needs a weight >= 0, got {weight}.")
        self.target, self.encoder, self.projector = target, target.encoder, projector
        self.taps, self.weight = (tap,), weight
        self.parameters = list(projector.parameters())
        self.optimiser = torch.optim.Adam(self.parameters, lr=learning_rate)

    def __call__(self, denoised: Denoised, g_dsm: torch.Tensor) -> SignalStep:
        (tap,) = self.taps
        activation = tapped(denoised, tap)
        processes = processes_here()
        part = processes.part(len(activation), activation.device)
        leaf = activation.to(self.parameters[0].dtype).requires_grad_()
        # Cosines lose their digits in half precision, so autocast stops at this door.
        with torch.enable_grad(), torch.autocast(leaf.device.type, enabled=False):
            target = self.target(denoised.x0, denoised.index)  # [B, T, d] or [B, d]
            tokens = tokens_of("repa", tap, leaf, self.target.grid(denoised.x0))  # [B, T, D]
            projected = self.projector(tokens if target.ndim == 3 else tokens.mean(1))
            cosines = F.cosine_similarity(projected, target.to(projected), dim=-1)  # [B, T] or [B]
            loss = -processes.sum(cosines.sum()) / (part.whole * cosines[0].numel())
            gradient, *gradients = torch.autograd.grad(loss, [leaf, *self.parameters])
        processes.average(gradients)
        for parameter, own in zip(self.parameters, gradients, strict=True):
            parameter.grad = own
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return SignalStep(None, {"repa": loss.detach()}, {tap: (self.weight * gradient).to(activation.dtype)})

    def state_dict(self) -> dict[str, Any]:
        """Encoder, projector and its optimiser."""
        return {
            "encoder": self.target.encoder.state_dict(),
            "projector": self.projector.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.target.encoder.load_state_dict(state["encoder"])
        self.projector.load_state_dict(state["projector"])
        self.optimiser.load_state_dict(state["optimiser"])
