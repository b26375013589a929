"""Structure guidance as a training signal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.diffusion import Denoised
from sadm.signals.known import KnownStructure
from sadm.signals.signal import SignalStep
from sadm.structure import Event, StructureError, StructureGame

_PLAYED = ("gap", "g_dsm", "g_gap", "g_structure", "ratio", "spread", "spread_hat")


class StructureSignal:
    """Plays the structure game on each step (Yang et al. 2024, arXiv 2402.17563).

    Logs, of a play: ``gap``; for the images that took part the mean gradient norms ``g_dsm`` (denoising), ``g_gap`` (structure,
    raw) and ``g_structure`` (balanced); the mean ``ratio`` in force; and ``spread`` and ``spread_hat`` of the real and the
    denoised images' relations. With a watchdog also ``events``, how often it has acted, and ``skipped``, how many plays it gave
    up because a number was not finite; of those, these two alone. Nothing while the game rests.

    Args:
        game: what is played.
        say: told each event of the watchdog, once, when it happens; a resumed run does not repeat old ones.
        known: affinities that take the place of what the encoder sees of the real images; None = what it sees.
    """

    def __init__(
        self, game: StructureGame, say: Callable[[str], None] | None = None, known: KnownStructure | None = None
    ) -> None:
        self.game, self.encoder, self.say, self.known = game, game.discriminator.encoder, say, known
        self._said = len(self._events)

    def __call__(self, denoised: Denoised, g_dsm: torch.Tensor) -> SignalStep:
        if self.game.resting:
            self.game.rest()
            return SignalStep(None, {})
        target = None if self.known is None else self.known(denoised)
        try:
            play = self.game.play(
                denoised.x0, denoised.x0_hat, denoised.sigma, g_dsm, target=target, index=denoised.index
            )
        except StructureError as error:
            raise UserError(f"structure guidance stopped at step {self.game.step}: {error}.") from error
        self._tell()
        log = {} if play.skipped else {name: getattr(play, name) for name in _PLAYED}
        if self.game.watchdog is not None:
            log["events"] = torch.tensor(float(len(self._events)))
            log["skipped"] = torch.tensor(float(self.game.watchdog.skipped))
        return SignalStep(None if play.skipped else play.gradient, log)

    @property
    def account(self) -> list[str] | None:
        """What the watchdog did, in words; None without one."""
        return None if self.game.watchdog is None else [str(event) for event in self._events]

    def state_dict(self) -> dict[str, Any]:
        """The game's."""
        return self.game.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.game.load_state_dict(state)
        self._said = len(self._events)

    @property
    def _events(self) -> list[Event]:
        return [] if self.game.watchdog is None else self.game.watchdog.events

    def _tell(self) -> None:
        for event in self._events[self._said :]:
            if self.say is not None:
                self.say(f"Structure game, {event}.")
        self._said = len(self._events)
