"""Held-out images in three parts that share no group: to fit feature spaces, to measure by, and to compare with."""

from __future__ import annotations

import dataclasses

import torch

from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data import ImageSet
from sadm.evaluation.units import thirds, unit_numbers

FEWEST = 12
MOST = 3000


@dataclasses.dataclass(frozen=True)
class AuditParts:
    """Three parts of the held-out images.

    Attributes:
        fitting: feature spaces are fitted on these, so that they know training and other images equally little.
        reference: how far any image is from these is the measure of how far it is from training images.
        comparison: fresh images; what they score is what images score that are no copies.
    """

    fitting: ImageSet
    reference: ImageSet
    comparison: ImageSet

    @property
    def measuring(self) -> torch.Tensor:
        """Images to measure by where nothing is fitted, float32 in [-1, 1]: of the first two parts."""
        return torch.cat([self.fitting.floats(), self.reference.floats()])

    @staticmethod
    def of(held_out: ImageSet, seed: int = 0, most: int = MOST) -> AuditParts:
        """Divides held-out images into nearly equal thirds, the same way every time for a seed; a group stays together.

        Args:
            held_out: images that training never saw.
            seed: of the division.
            most: images in a part.

        Raises:
            UserError: too few images, or too few groups to fill three parts.
        """
        if len(held_out) < FEWEST:
            raise UserError(
                f"{len(held_out)} held-out images are too few for an audit; at least {FEWEST} are needed. Raise "
                "--data.held-out, or give more images."
            )
        part_of = torch.from_numpy(thirds(unit_numbers(held_out), generator(seed, "audit parts"), "an audit"))  # [N]
        shuffled = torch.randperm(len(held_out), generator=generator(seed, "audit images"))
        chosen = [shuffled[part_of[shuffled] == part][:most].sort().values for part in range(3)]
        return AuditParts(*(held_out.subset(index) for index in chosen))
