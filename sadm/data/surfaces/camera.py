"""The camera: vignetting, exposure, blur of the lens, noise of the sensor, bytes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from sadm.data.surfaces.scene import Array, Frame, Light, Window

REACH = 2
"""How far the blur of the lens reaches, in pixels."""


@dataclasses.dataclass(frozen=True, eq=False)
class Camera:
    """A camera above the surface.

    Attributes:
        fall_off: share of the light that reaches each pixel [H, W].
        exposure: factor on light.
        kernel: blur of the lens along one axis [2 REACH + 1].
        noise: standard normal numbers [H, W].
        read, shot: standard deviation of the sensor's noise in the dark, and its growth with the root of the signal, in grey
            levels.
    """

    fall_off: Array
    exposure: float
    kernel: Array
    noise: Array
    read: float
    shot: float

    def signal(self, radiance: Array, window: Window) -> Array:
        """Grey levels [h, w] without noise, in [0, 255).

        Args:
            radiance: light from the window [h, w].
            window: which pixels; the blur repeats its outermost ones.
        """
        from scipy import ndimage  # here, since every training imports this module and few make surfaces

        level = radiance * self.fall_off[window]
        level *= -self.exposure
        for axis in (0, 1):
            level = ndimage.correlate1d(level, self.kernel, axis, mode="nearest")
        np.expm1(level, out=level)  # highlights saturate softly
        level *= -255.0
        return level

    def develop(self, signal: Array, window: Window) -> Array:
        """The signal [h, w] with the sensor's noise, as bytes."""
        level = np.sqrt(signal)
        level *= self.shot
        level += self.read
        level *= self.noise[window]
        level += signal
        return np.clip(np.rint(level, out=level), 0, 255, out=level).astype(np.uint8)


def camera(rng: np.random.Generator, frame: Frame, light: Light, radiance: Array, brightness: float) -> Camera:
    """Draws a camera, and how evenly the lamp lights what it sees.

    Args:
        rng: from which it is drawn.
        frame: its pixels.
        light: the lamp.
        radiance: light from the surface without defects [H, W], by which the exposure is set.
        brightness: at which its mean comes out, in (0, 1).
    """
    vignette, slant, off_y, off_x, blur, read, shot = rng.random(7)
    height, width = frame.extent
    y, x = frame.y / height - 0.5, frame.x / width - 0.5
    strength, slant = 0.15 + 0.55 * vignette, 0.45 * slant
    down = 1 - strength * np.square(y - 0.3 * (off_y - 0.5)) + slant * light.y * y
    right = slant * light.x * x - strength * np.square(x - 0.3 * (off_x - 0.5))
    kernel = np.exp(-0.5 * np.square(np.arange(-REACH, REACH + 1) / (0.45 + 0.25 * blur)))
    return Camera(
        fall_off=down + right,
        exposure=-math.log1p(-brightness) / float(np.mean(radiance)),
        kernel=kernel / kernel.sum(),
        noise=rng.standard_normal((frame.height, frame.width)),
        read=0.4 + 0.8 * read,
        shot=0.05 + 0.10 * shot,
    )
