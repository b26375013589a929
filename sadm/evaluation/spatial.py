"""Features that keep their place in the image, for the spatial variant of the Fréchet distance (sFID in Inception features;
Nash et al. 2021, arXiv 2103.03841).

Pooled features can't tell where something is. The spatial ones are a few channels of a feature map, flattened. ADM's evaluation
(Dhariwal & Nichol 2021, arXiv 2105.05233) takes the first 7 channels of an Inception map of 17 x 17 in the order height, width,
channel: 2,023 numbers, whose mean and covariance its reference batches call mu_s and sigma_s.
"""

from __future__ import annotations

import numpy as np

from sadm.core.errors import UserError

ADM_CHANNELS = 7


def spatial_features(maps: np.ndarray, channels: int | None = ADM_CHANNELS) -> np.ndarray:
    """Flattens feature maps for `GaussianFit.of`.

    Args:
        maps: [N, C, H, W].
        channels: the first so many are kept, 7 as in ADM; None = all.

    Returns:
        [N, H * W * channels], float64, the channel running fastest.

    Raises:
        UserError: another shape, or fewer channels than are to be kept.
    """
    values = np.asarray(maps, dtype=np.float64)
    kept = values.shape[1] if channels is None and values.ndim == 4 else channels
    if values.ndim != 4 or kept is None or not 1 <= kept <= values.shape[1]:
        raise UserError(
            f"expected feature maps [N, C, H, W] with at least {channels or 1} channels, got shape {values.shape}."
        )
    return values[:, :kept].transpose(0, 2, 3, 1).reshape(len(values), -1)
