"""When is an image called a copy? A threshold that fresh real images seldom pass, by split-conformal calibration.

Let n independent fresh images (or groups) have the scores c_1 <= ... <= c_n, and let a further one be exchangeable with them.
It scores below c_k with probability at most k / (n + 1), whatever the distribution of scores (Vovk, Gammerman and Shafer 2005;
Lei et al. 2018, arXiv 1604.04173). Of m further ones, the number below c_k is beta-binomial with m, k and n + 1 - k.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy import stats

from sadm.core.errors import UserError

FALSE_ALARMS = 0.01
MOST = 0.45
"""A copy's score is below this as well: less than half as far from a training image as from any other. Searched on divisions of
digits, Fashion-MNIST and surfaces that no stored result uses."""


@dataclasses.dataclass(frozen=True)
class CopyThreshold:
    """A score below which an image is called a copy.

    Attributes:
        score: the threshold.
        rank: k, which of the fresh images' scores bounds it.
        units: n, independent fresh images or groups.
    """

    score: float
    rank: int
    units: int

    @property
    def false_alarms(self) -> float:
        """The probability, at most, that a fresh real image or group is called a copy: k / (n + 1)."""
        return self.rank / (self.units + 1)

    @staticmethod
    def calibrate(scores: np.ndarray, units: np.ndarray, false_alarms: float = FALSE_ALARMS) -> CopyThreshold:
        """Calibrates on fresh real images.

        Fewer than 99 units cannot vouch for one per cent: then k is 1, and `false_alarms` says what they vouch for.

        Args:
            scores: of fresh real images [n].
            units: which of them belong together [n]; a group counts once, by its lowest score.
            false_alarms: what is wanted at most.

        Raises:
            UserError: no scores, or some that are not finite.
        """
        if len(scores) == 0 or not np.isfinite(scores).all():
            raise UserError("a copy threshold needs finite scores of fresh real images.")
        lowest = np.full(int(units.max()) + 1, np.inf)
        np.minimum.at(lowest, units, scores)
        lowest = np.sort(lowest[np.isfinite(lowest)])
        rank = max(1, math.floor(false_alarms * (len(lowest) + 1)))
        return CopyThreshold(min(float(lowest[rank - 1]), MOST), rank, len(lowest))

    def flags(self, scores: np.ndarray) -> np.ndarray:
        """Which images are called copies [N], bool."""
        return scores < self.score

    def p_value(self, copies: int, images: int) -> float:
        """The probability that of so many fresh real images as many are called copies, or more."""
        chance = stats.betabinom(images, self.rank, self.units + 1 - self.rank)
        return float(min(1.0, chance.sf(copies - 1)))


def share_interval(count: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """The Clopper-Pearson interval of a share: covers the true one with at least the probability `level`."""
    found = stats.binomtest(count, total).proportion_ci(level, method="exact")
    return float(found.low), float(found.high)
