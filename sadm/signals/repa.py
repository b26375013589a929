"""Alignment of a hidden layer with an encoder's features of the clean image."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from sadm.core.errors import UserError
from sadm.diffusion import Denoised
from sadm.signals.signal import SignalStep
from sadm.signals.taps import Taps, tapped


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
        encoder: takes [B, C, H, W]; it is frozen here.
        features: name of the encoder's module whose output is matched: a map [B, d, H', W'], tokens [B, P, d] that run row
            by row over patches of the image, or vectors [B, d].
        projector: from the tapped width to d; see `build_projector`.
        tap: name of the network's module whose output [B, T, D] is aligned.
        grid: rows and columns of its T tokens.
        weight: factor on the loss, >= 0; the paper's 0.5.
        learning_rate: of the projector.

    Raises:
        UserError: a negative weight, or no such module of the encoder.
    """

    def __init__(
        self,
        encoder: nn.Module,
        features: str,
        projector: nn.Module,
        tap: str,
        grid: tuple[int, int],
        weight: float = 0.5,
        learning_rate: float = 1e-3,
    ) -> None:
        if not weight >= 0:
            raise UserError(f"signal 'repa' needs a weight >= 0, got {weight}.")
        self.encoder, self.projector = encoder.eval().requires_grad_(False), projector
        self.features = Taps(encoder, [features])
        self.taps, self.grid, self.weight = (tap,), grid, weight
        self.parameters = list(projector.parameters())
        self.optimiser = torch.optim.Adam(self.parameters, lr=learning_rate)

    def __call__(self, denoised: Denoised, g_dsm: torch.Tensor) -> SignalStep:
        (tap,) = self.taps
        activation = tapped(denoised, tap)
        expect_tokens(tap, activation.shape, self.grid)
        leaf = activation.to(self.parameters[0].dtype).requires_grad_()  # [B, T, D]
        # Cosines lose their digits in half precision, so autocast stops at this door.
        with torch.enable_grad(), torch.autocast(leaf.device.type, enabled=False):
            target = self._target(denoised.x0)  # [B, T, d] or [B, d]
            projected = self.projector(leaf if target.ndim == 3 else leaf.mean(1))
            loss = -F.cosine_similarity(projected, target.to(projected), dim=-1).mean()
            gradient, *gradients = torch.autograd.grad(loss, [leaf, *self.parameters])
        for parameter, own in zip(self.parameters, gradients, strict=True):
            parameter.grad = own
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return SignalStep(None, {"repa": loss.detach()}, {tap: (self.weight * gradient).to(activation.dtype)})

    @torch.no_grad()
    def _target(self, x0: torch.Tensor) -> torch.Tensor:
        with self.features.recording() as recorded:
            self.encoder(x0.to(next(self.encoder.parameters()).dtype))
        (features,) = recorded.values()
        if features.ndim == 3:
            rows, columns = patch_grid(features.shape[1], (x0.shape[2], x0.shape[3]))
            features = features.mT.unflatten(2, (rows, columns))  # [B, d, rows, columns]
        if features.ndim == 4:
            return F.adaptive_avg_pool2d(features, self.grid).flatten(2).mT  # [B, T, d]
        return features

    def state_dict(self) -> dict[str, Any]:
        """Encoder, projector and its optimiser."""
        return {
            "encoder": self.encoder.state_dict(),
            "projector": self.projector.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.encoder.load_state_dict(state["encoder"])
        self.projector.load_state_dict(state["projector"])
        self.optimiser.load_state_dict(state["optimiser"])


def expect_tokens(tap: str, shape: torch.Size, grid: tuple[int, int]) -> None:
    """Checks that what a tap gives are the tokens of a grid.

    Raises:
        UserError: they are not.
    """
    if len(shape) != 3 or shape[1] != grid[0] * grid[1]:
        raise UserError(
            f"signal 'repa' aligns tokens: expected [B, {grid[0] * grid[1]}, D] from '{tap}', got {list(shape)}. Tap a block, "
            "such as blocks.0."
        )


def patch_grid(patches: int, image: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of `patches` square patches of an image of that height and width."""
    wanted = math.log(image[0] / image[1])
    divisors = [rows for rows in range(1, patches + 1) if patches % rows == 0]
    rows = min(divisors, key=lambda rows: abs(math.log(rows * rows / patches) - wanted))
    return rows, patches // rows
