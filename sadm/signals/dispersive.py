"""Dispersive loss: the hidden representations of a batch repel each other."""

from __future__ import annotations

import math
from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.diffusion import Denoised
from sadm.signals.signal import SignalStep
from sadm.signals.taps import tapped
from sadm.structure import processes_here


def dispersive_loss(activation: torch.Tensor, temperature: float = 0.5) -> torch.Tensor:
    """``log mean_{ij} exp(-|z_i - z_j|^2 / (D temperature))``, the InfoNCE variant with squared l2 distance.

    Wang & He 2025 (arXiv 2506.09027, "Diffuse and Disperse"): a contrastive loss without its positive pairs. The mean runs
    over the whole matrix, diagonal included, and the squared distance is divided by its number of elements D, both as in the
    authors' published code.

    Args:
        activation: [B, ...]; all but the first axis are one vector z of D elements.
        temperature: > 0.

    Returns:
        A scalar in [-log B, 0], at least float32; 0 = all representations coincide.
    """
    z = activation.flatten(1).to(torch.promote_types(activation.dtype, torch.float32))  # [B, D]
    z = z - z.mean(0)  # changes no distance, and keeps the digits that the products below would lose
    squared = z.square().sum(1)  # [B]
    distance = squared[:, None] + squared[None, :] - 2 * z @ z.T  # [B, B]
    return torch.logsumexp((-distance / (z.shape[1] * temperature)).flatten(), 0) - 2 * math.log(len(z))


class DispersiveSignal:
    """Adds ``weight * dispersive_loss`` of one tapped activation; its gradient enters the network there, not at x0_hat.

    The paper's experiments use weight 0.5, temperature 0.5, after a quarter of the blocks (the authors' later code: 0.25, 1,
    the last block). There is no gradient at x0_hat that could be balanced. Logs ``dispersive``.

    Args:
        tap: name of the module whose output is dispersed.
        weight: factor on the loss, >= 0.
        temperature: see `dispersive_loss`.
    """

    def __init__(self, tap: str, weight: float = 0.5, temperature: float = 0.5) -> None:
        if not (weight >= 0 and temperature > 0):
            raise UserError(
                f"signal 'dispersive' needs a weight >= 0 and a temperature > 0, got {weight} and {temperature}."
            )
        self.taps, self.weight, self.temperature = (tap,), weight, temperature

    def __call__(self, denoised: Denoised, g_dsm: torch.Tensor) -> SignalStep:
        part = processes_here().part(len(denoised.x0), denoised.x0.device)
        if part.whole < 2:
            raise UserError("signal 'dispersive' is about pairs: the batch holds 1 image. Use a larger batch.")
        (tap,) = self.taps
        leaf = tapped(denoised, tap).requires_grad_()
        with torch.enable_grad(), torch.autocast(leaf.device.type, enabled=False):
            loss = dispersive_loss(part.rows(leaf), self.temperature)
            (gradient,) = torch.autograd.grad(loss, leaf)
        return SignalStep(None, {"dispersive": loss.detach()}, {tap: self.weight * gradient})

    def state_dict(self) -> dict[str, Any]:
        """Nothing: this signal has no memory."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""
