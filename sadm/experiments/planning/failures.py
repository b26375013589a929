"""How often to save, and what failures cost, on many devices. Imports no torch.

A device fails at random times, on average once in M hours; N of them, once in M / N. A failure loses what was computed since the
last checkpoint, and a restart. Young (1974, Communications of the ACM 17 (9)) balances that against the time that saving takes;
Daly (2006, Future Generation Computer Systems 22 (3)) has the next terms, which matter where saving takes long.
"""

from __future__ import annotations

import dataclasses
import math

DEVICE_MTBF_HOURS = 16384 * 54 * 24 / 419
"""Hours between failures of one device: 419 unexpected interruptions in 54 days on 16,384 H100 (Llama 3, arXiv 2407.21783)."""
RESTART_SECONDS = 600.0
"""Assumed: to notice, to replace, to start, to load."""
STORAGE_GBYTES = 2.0
"""Assumed: GB/s at which all devices together write a checkpoint."""


@dataclasses.dataclass(frozen=True)
class Failures:
    """What failures and checkpoints cost.

    Attributes:
        mtbf_hours: between failures of all devices together.
        save_seconds: that one checkpoint stops the training.
        young_seconds: best time between checkpoints, by Young.
        daly_seconds: the same, by Daly.
        overhead: time lost over time computed, with Daly's interval: saving, computing again, restarting.
    """

    mtbf_hours: float
    save_seconds: float
    young_seconds: float
    daly_seconds: float
    overhead: float


def young(save: float, mtbf: float) -> float:
    """Time between checkpoints sqrt(2 save mtbf), all in one unit."""
    return math.sqrt(2 * save * mtbf)


def daly(save: float, mtbf: float) -> float:
    """Time computed between checkpoints by Daly's equation 37; mtbf where saving takes twice as long or longer."""
    if save >= 2 * mtbf:
        return mtbf
    ratio = save / (2 * mtbf)
    return math.sqrt(2 * save * mtbf) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - save


def overhead(interval: float, save: float, mtbf: float, restart: float) -> float:
    """Time lost over time computed, for failures that come as a Poisson process (Daly's equation 20).

    Args:
        interval: computed between checkpoints.
        save, mtbf, restart: in the same unit.
    """
    return mtbf * math.exp(restart / mtbf) * math.expm1((interval + save) / mtbf) / interval - 1


def failures(
    checkpoint: float,
    count: int,
    device_mtbf_hours: float = DEVICE_MTBF_HOURS,
    storage: float = STORAGE_GBYTES,
    restart: float = RESTART_SECONDS,
) -> Failures:
    """What failures of `count` devices cost a training whose checkpoint has so many bytes."""
    save, mtbf = checkpoint / (storage * 1e9), device_mtbf_hours * 3600 / count
    interval = daly(save, mtbf)
    return Failures(mtbf / 3600, save, young(save, mtbf), interval, overhead(interval, save, mtbf, restart))
