"""Structure guidance as a training signal."""

from __future__ import annotations

from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.diffusion import Denoised
from sadm.signals.signal import SignalStep
from sadm.structure import StructureError, StructureGame


class StructureSignal:
    """Plays the structure game on each step (Yang et al. 2024, arXiv 2402.17563).

    Logs ``gap`` and, for the images that took part, the mean gradient norms ``g_dsm`` (denoising), ``g_gap`` (structure,
    raw) and ``g_structure`` (balanced); nothing while the game rests.
    """

    def __init__(self, game: StructureGame) -> None:
        self.game = game

    def __call__(self, denoised: Denoised, g_dsm: torch.Tensor) -> SignalStep:
        if self.game.schedule.strength(self.game.step) == 0:
            self.game.step += 1
            return SignalStep(None, {})
        try:
            play = self.game.play(denoised.x0, denoised.x0_hat, denoised.sigma, g_dsm)
        except StructureError as error:
            raise UserError(f"structure guidance stopped at step {self.game.step}: {error}.") from error
        names = ("gap", "g_dsm", "g_gap", "g_structure")
        return SignalStep(play.gradient, {name: getattr(play, name) for name in names})

    def state_dict(self) -> dict[str, Any]:
        return self.game.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.game.load_state_dict(state)
