"""What damaged images can be mended with without any model: what a restoration must beat."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt, median_filter

from sadm.applications.restoring import BLUR, LOWRES, MASK, UNKNOWN, Injury, enlarged
from sadm.data import to_floats, to_uint8

Filter = Callable[[torch.Tensor, Injury, tuple[int, int, int]], torch.Tensor]


def filters_for(injury: Injury) -> dict[str, Filter]:
    """Filters by name that make sense for an injury; each takes damaged images [N, c, h, w] in [-1, 1] to [N, C, H, W].

    ``as it is`` enlarges pixels and repeats channels; ``median`` is over 3x3 pixels, of holes over what is known around them;
    ``bicubic`` is Pillow's, for low resolutions; ``opencv`` is its inpainting by Telea's method, where OpenCV is installed;
    ``wiener`` is for known blurs, with an image as likely to have one frequency as another; ``levels``, for damage that is not
    known, stretches what is between the 1st and the 99th percentile of a picture from black to white.
    """
    found: dict[str, Filter] = {"as it is": _as_it_is, "median": _median}
    if injury.kind == LOWRES:
        found["bicubic"] = _bicubic
    if injury.kind == BLUR:
        found["wiener"] = _wiener
    if injury.kind == UNKNOWN:
        found["levels"] = _levels
    if injury.kind == MASK and importlib.util.find_spec("cv2") is not None:
        found["opencv"] = _opencv
    return found


def _as_it_is(damaged: torch.Tensor, injury: Injury, shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.stack([enlarged(image, shape) for image in damaged])


def _median(damaged: torch.Tensor, injury: Injury, shape: tuple[int, int, int]) -> torch.Tensor:
    images = _as_it_is(damaged, injury, shape)
    if injury.masks is None:
        return _filtered(images)
    holes = injury.masks.expand_as(images)
    filled = torch.stack([_nearest_known(image, mask[0]) for image, mask in zip(images, injury.masks, strict=True)])
    return torch.where(holes, _filtered(filled), images)


def _filtered(images: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(median_filter(images.numpy(), size=(1, 1, 3, 3), mode="nearest"))


def _nearest_known(image: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """An image [C, H, W] whose hole [H, W] has the values of the nearest known pixels."""
    if bool(hole.all()):
        return torch.zeros_like(image)
    rows, columns = distance_transform_edt(hole.numpy(), return_distances=False, return_indices=True)
    return image[:, torch.from_numpy(rows), torch.from_numpy(columns)]


def _bicubic(damaged: torch.Tensor, injury: Injury, shape: tuple[int, int, int]) -> torch.Tensor:
    size, pixels = (shape[2], shape[1]), to_uint8(damaged).numpy()
    images = [
        [np.asarray(Image.fromarray(channel).resize(size, Image.Resampling.BICUBIC)) for channel in image]
        for image in pixels
    ]
    return to_floats(torch.from_numpy(np.array(images)))


def _wiener(damaged: torch.Tensor, injury: Injury, shape: tuple[int, int, int]) -> torch.Tensor:
    """``conj(h) / (|h|^2 + noise^2 / variance)`` at each frequency of the image mirrored at its borders; white signal."""
    height, width = shape[1:]
    x = torch.cat([damaged, damaged.flip(3)], 3)
    x = torch.cat([x, x.flip(2)], 2)  # [N, C, 2 H, 2 W]: as a ring, without a jump at the borders
    h = _response(2 * height, injury.width)[:, None] * _response(2 * width, injury.width)  # real, as the kernel is even
    mean, noise = x.mean((2, 3), keepdim=True), max(2 * injury.noise, 1 / 255)
    signal = (x.var((2, 3), keepdim=True) - noise**2).clamp_min(noise**2)
    restored = torch.fft.ifft2(torch.fft.fft2(x - mean) * h / (h**2 + noise**2 / signal)).real + mean
    return restored[:, :, :height, :width].clamp(-1, 1)


def _response(side: int, width: float) -> torch.Tensor:
    """A Gaussian blur's response to the frequencies of a line of so many pixels [side]."""
    return torch.exp(-2 * (torch.pi * torch.fft.fftfreq(side) * width) ** 2)


def _levels(damaged: torch.Tensor, injury: Injury, shape: tuple[int, int, int]) -> torch.Tensor:
    images = _as_it_is(damaged, injury, shape)
    low, high = (images.flatten(1).quantile(share, dim=1)[:, None, None, None] for share in (0.01, 0.99))
    return torch.where(high > low, 2 * (images - low) / (high - low).clamp_min(1e-6) - 1, images).clamp(-1, 1)


def _opencv(damaged: torch.Tensor, injury: Injury, shape: tuple[int, int, int]) -> torch.Tensor:
    import cv2

    assert injury.masks is not None  # noqa: S101 - see `filters_for`
    images = []
    for image, mask in zip(to_uint8(damaged), injury.masks, strict=True):
        hole = mask[0].to(torch.uint8).numpy() * 255
        channels = [cv2.inpaint(channel.numpy(), hole, 3, cv2.INPAINT_TELEA) for channel in image]
        images.append(np.stack(channels))
    return to_floats(torch.from_numpy(np.stack(images)))
