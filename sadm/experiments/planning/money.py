"""Hours and money. Imports no torch."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Hours:
    """Of a whole training.

    Attributes:
        training: elapsed hours of steps.
        sampling: of drawing the images that judge it.
        lost: to checkpoints, failures and restarts.
        devices: how many are paid.
    """

    training: float
    sampling: float
    lost: float
    devices: int

    @property
    def elapsed(self) -> float:
        """From start to end."""
        return self.training + self.sampling + self.lost

    @property
    def paid(self) -> float:
        """Hours of a device, all devices together."""
        return self.elapsed * self.devices

    def price(self, hour: float) -> float:
        """What it costs at a price of an hour of a device."""
        return self.paid * hour
