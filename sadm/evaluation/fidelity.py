"""How close a restored image is to the sound one: error, structure, features, and whether its lines are where they should be.

All take images [N, C, H, W], floating point in [-1, 1], and give one number for each.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter, maximum_filter, sobel

from sadm.core.seeds import generator

RANGE = 2.0  # of pixels in [-1, 1]
_WIDTH = 32  # channels of the random convolutions
_EDGE = 0.5  # gradient, in the image's range per pixel of a step edge: half of a step from black to white


def psnr(found: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio [N] in decibels, ``10 log10(range^2 / mean squared error)``; inf where they are equal."""
    check_pair(found, sound)
    error = (found.double() - sound.double()).square().flatten(1).mean(1)
    return 10 * torch.log10(RANGE**2 / error)


def ssim(found: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
    """Structural similarity [N], at most 1, on each channel: Gaussian windows of 1.5 pixels' standard deviation, cut off at 5.

    Windows reach to 5 pixels from the border; of images with a side below 11, all windows count, mirrored at the border. Source:
    Wang et al. 2004, IEEE Transactions on Image Processing 13, with its constants 0.01 and 0.03.
    """
    check_pair(found, sound)
    first, second = (_array(images) for images in (found, sound))
    mean_a, mean_b = _windowed(first), _windowed(second)
    var_a = _windowed(first**2) - mean_a**2
    var_b = _windowed(second**2) - mean_b**2
    both = _windowed(first * second) - mean_a * mean_b
    c1, c2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
    values = (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    margin = 5 if min(first.shape[2:]) >= 11 else 0
    height, width = values.shape[2:]
    inner = values[:, :, margin : height - margin, margin : width - margin]
    return torch.from_numpy(inner.mean((1, 2, 3)))


def feature_distance(found: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
    """Distance in features, place by place [N], in [0, 2]; 0 = equal.

    The formula of LPIPS (Zhang et al. 2018, arXiv 1801.03924): at each place the channels of each layer are brought to length 1,
    and the squares of their differences are summed, then averaged over places and layers. The layers are convolutions with fixed
    random weights, two at full and two at half the resolution: what it says of texture and edges was not learned from people.
    """
    check_pair(found, sound)
    layers = zip(_features(found), _features(sound), strict=True)
    distances = [(ours - theirs).square().sum(1).mean((1, 2)) for ours, theirs in layers]  # [N] each
    return torch.stack(distances).mean(0)


def _features(images: torch.Tensor) -> list[torch.Tensor]:
    """Layers [N, 32, h, w], float64, whose channels have length 1 at each place, or 0 where nothing responds."""
    channels, found = images.shape[1], []
    draws = generator(0, "features of fidelity", channels)
    first = torch.randn(_WIDTH, channels, 3, 3, generator=draws, dtype=torch.float64) / (9 * channels) ** 0.5
    second = torch.randn(_WIDTH, _WIDTH, 3, 3, generator=draws, dtype=torch.float64) / (9 * _WIDTH) ** 0.5
    x = images.detach().cpu().double()
    for maps in (x, F.avg_pool2d(x, 2)):
        for weight in (first, second):
            maps = F.relu(F.conv2d(F.pad(maps, (1, 1, 1, 1), mode="replicate"), weight))
            found.append(maps / maps.norm(dim=1, keepdim=True).clamp_min(1e-8))
    return found


def line_accuracy(found: torch.Tensor, sound: torch.Tensor, tolerance: int = 1) -> torch.Tensor:
    """How well edges agree [N] in [0, 1]: the harmonic mean of precision and recall of edge pixels.

    An edge pixel of one image is met where the other has one at most `tolerance` pixels away, in rows and columns. Edges are
    where the grey image's gradient is at least a quarter of the largest in the sound image, and at least that of a step of a
    sixteenth of the range: the same threshold for both. Where neither image has edges the accuracy is 1. The measure is that of
    Martin, Fowlkes and Malik 2004, IEEE Transactions on Pattern Analysis and Machine Intelligence 26, with a neighbourhood
    instead of a matching.
    """
    check_pair(found, sound)
    scores = []
    for ours, theirs in zip(_array(found).mean(1), _array(sound).mean(1), strict=True):
        steep_ours, steep_theirs = _gradient(ours), _gradient(theirs)
        threshold = max(0.25 * float(steep_theirs.max()), _EDGE * RANGE / 16)
        a, b = steep_ours >= threshold, steep_theirs >= threshold
        if not a.any() and not b.any():
            scores.append(1.0)
            continue
        size = 2 * tolerance + 1
        met_a, met_b = a & maximum_filter(b, size), b & maximum_filter(a, size)
        precision, recall = met_a.sum() / max(1, a.sum()), met_b.sum() / max(1, b.sum())
        scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return torch.tensor(scores, dtype=torch.float64)


def check_pair(found: torch.Tensor, sound: torch.Tensor) -> None:
    """Refuses images of different shapes.

    Raises:
        ValueError: with what was given.
    """
    if found.shape != sound.shape or found.ndim != 4:
        raise ValueError(f"expected two sets of images [N, C, H, W], got {tuple(found.shape)} and {tuple(sound.shape)}")


def _array(images: torch.Tensor) -> np.ndarray:
    return images.detach().cpu().double().numpy()


def _windowed(values: np.ndarray) -> np.ndarray:
    """Weighted means over windows of 11x11 pixels."""
    return gaussian_filter(values, 1.5, mode="mirror", radius=5, axes=(2, 3))


def _gradient(image: np.ndarray) -> np.ndarray:
    """Length of the gradient of [H, W] by Sobel's operator, in values a pixel: a step of 1 gives 0.5 on both of its sides."""
    return np.hypot(sobel(image, 0, mode="nearest"), sobel(image, 1, mode="nearest")) / 8
