"""Which images are independent of each other: those of one group (views of a part, tiles of a scan, near-duplicates) are not."""

from __future__ import annotations

import numpy as np
import torch

from sadm.core.errors import UserError
from sadm.data import ImageSet


def unit_numbers(images: ImageSet) -> np.ndarray:
    """Which images are not independent of each other: the number of each one's group, or of the image alone [N]."""
    if images.groups is None:
        return np.arange(len(images))
    return np.unique(np.array(images.groups), return_inverse=True)[1].reshape(-1)


def thirds(units: np.ndarray, draws: torch.Generator, purpose: str) -> np.ndarray:
    """Divides images into three parts that share no group, and that are nearly equal where groups are small.

    Groups come in a random order, and each goes to the part that has the fewest images so far.

    Args:
        units: the number of each image's group [N], from 0 on; N >= 1.
        draws: decides the order.
        purpose: what the parts are for, such as ``an audit``; for the error.

    Returns:
        The part that each image is in [N], int64: 0, 1 or 2.

    Raises:
        UserError: fewer than three groups.
    """
    count = int(units.max()) + 1
    if count < 3:
        raise UserError(
            f"the {len(units)} held-out images belong to {count} group{'s' if count > 1 else ''}; {purpose} needs at least 3 "
            "groups, which share nothing. Raise --data.held-out, or give images of more groups."
        )
    sizes = np.bincount(units)
    part_of, filled = np.zeros(count, dtype=np.int64), np.zeros(3, dtype=np.int64)
    for unit in torch.randperm(count, generator=draws).numpy():
        part_of[unit] = filled.argmin()
        filled[part_of[unit]] += sizes[unit]
    return part_of[units]
