"""Is an image a near copy of a training image? The comparison in register, with a threshold calibrated on fresh real images."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from sadm.core.progress import Reporter, Silent
from sadm.data import ImageSet
from sadm.evaluation.memorisation.copies import CopySearch, Matches
from sadm.evaluation.memorisation.parts import AuditParts
from sadm.evaluation.memorisation.spaces import ratio
from sadm.evaluation.memorisation.threshold import FALSE_ALARMS, CopyThreshold
from sadm.evaluation.units import unit_numbers


@dataclasses.dataclass(frozen=True)
class Compared:
    """N images beside the training images.

    Attributes:
        nearest: training image of each.
        apart: distance of each to the nearest reference image [N], float64.
        scores: distance to the nearest training image by `apart` [N]; see `ratio`.
    """

    nearest: Matches
    apart: np.ndarray
    scores: np.ndarray


class CopyTest:
    """Tells near copies of training images, and of each other.

    Args:
        train: training images.
        parts: of the images that training never saw.
        reporter: told about progress.
        false_alarms: see `CopyThreshold.calibrate`.

    Attributes:
        fresh: scores of the fresh images `parts.comparison` [n].
        threshold: the score below which an image is called a copy.
    """

    def __init__(
        self,
        train: ImageSet,
        parts: AuditParts,
        reporter: Reporter | None = None,
        false_alarms: float = FALSE_ALARMS,
    ) -> None:
        self.shown = reporter or Silent()
        self._train, self._reference = CopySearch(train.floats()), CopySearch(parts.measuring)
        self.fresh = self.compare(parts.comparison.floats(), "held-out images").scores
        self.threshold = CopyThreshold.calibrate(self.fresh, unit_numbers(parts.comparison), false_alarms)

    def compare(self, images: torch.Tensor, what: str = "") -> Compared:
        """Compares images [N, C, H, W], float32 in [-1, 1]; progress is shown where `what` says what they are."""

        def show(done: int, total: int) -> None:
            if what:
                self.shown.update(f"comparing {what}", done, total)

        nearest = self._train.nearest(images, progress=show)
        apart = self.to_reference(images)
        return Compared(nearest, apart, ratio(nearest.distance.double().numpy(), apart))

    def to_reference(self, images: torch.Tensor) -> np.ndarray:
        """Distance of images [N, C, H, W] to the nearest reference image [N], float64."""
        return self._reference.nearest(images).distance.double().numpy()

    def flags(self, distance: torch.Tensor, apart: np.ndarray) -> np.ndarray:
        """Which images are copies [N], bool, of what lies at a distance [N] in register; `apart` as of `Compared`."""
        return self.threshold.flags(ratio(distance.double().numpy(), apart))
