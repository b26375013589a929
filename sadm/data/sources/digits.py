"""scikit-learn's handwritten digits: 1,797 grey scans of 8 x 8 pixels, there without any download."""

from __future__ import annotations

import numpy as np
import torch

from sadm.data.fitting import Fit
from sadm.data.imageset import ImageSet

_LEVELS = 16  # the scans count ink in 0..16


def open_digits(fit: Fit) -> ImageSet:
    """Opens the digits with their ten classes.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998), test part.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / _LEVELS)).astype(np.uint8)  # [1797, 8, 8]
    images = fit.grey_array(torch.from_numpy(pixels).unsqueeze(1))
    return ImageSet(
        images=images,
        labels=torch.from_numpy(bunch.target.astype(np.int64)),
        class_names=tuple(str(name) for name in bunch.target_names),
        names=tuple(f"digits/{i}" for i in range(len(images))),
        source="digits",
    )
