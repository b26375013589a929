"""What the adversaries that learn have in common."""

from __future__ import annotations

from typing import Any

from sadm.structure.players.discriminator import StructureDiscriminator
from sadm.structure.players.updates import Updates


class LearningDiscriminator(StructureDiscriminator):
    """A discriminator with something that learns; a subclass says what, by setting `updates`.

    Attributes:
        updates: optimiser, bounds and starting point of what learns.
    """

    updates: Updates
    learns = True

    def learn(self) -> None:
        gradients = self._gradients
        super().learn()
        self._processes.average(gradients or [])
        self.updates.step(gradients)

    def healthy(self) -> bool:
        return self.updates.healthy()

    def freeze(self) -> None:
        self.updates.freeze()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "updates": self.updates.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.updates.load_state_dict(state["updates"])
