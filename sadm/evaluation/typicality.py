"""How many real images are as far off as an image? A share, by which doubtful images are refused."""

from __future__ import annotations

import numpy as np


def share_as_low(scores: np.ndarray, real: np.ndarray) -> np.ndarray:
    """The share of real images that score as low as an image, or lower.

    An image like n real ones, none of which it was chosen by, has a share below q with probability ceil(q n) / (n + 1) at most
    (conformal prediction; Vovk, Gammerman and Shafer 2005).

    Args:
        scores: of images [M].
        real: of real images [n], n >= 1.

    Returns:
        Shares in [0, 1], [M].
    """
    return np.searchsorted(np.sort(real), scores, side="right") / len(real)
