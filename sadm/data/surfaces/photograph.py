"""A picture of a surface, with or without a defect, and the mask of what the defect changed."""

from __future__ import annotations

import numpy as np

from sadm.data.surfaces.camera import REACH, Camera
from sadm.data.surfaces.change import Change
from sadm.data.surfaces.scene import Array, Frame, Ground, Window

_VISIBLE = 2.0  # grey levels


def photograph(
    surface: Ground, radiance: Array, lens: Camera, change: Change | None, channels: int, frame: Frame
) -> tuple[Array, Array]:
    """Takes the picture.

    Args:
        surface: without defects.
        radiance: light from it [H, W].
        lens: the camera.
        change: what the defect does; None = there is none.
        channels: 1 or 3.
        frame: the picture's pixels.

    Returns:
        The picture [C, H, W] and the mask [1, H, W], uint8. Outside the mask, the picture is that of the surface without the
        defect, byte by byte; inside, each pixel differs from it.
    """
    mask = np.zeros((1, frame.height, frame.width), dtype=np.uint8)
    tints = surface.tint if channels == 3 else np.ones(1)
    signals = [lens.signal(radiance if tint == 1 else radiance * tint, frame.whole) for tint in tints]
    image = np.stack([lens.develop(signal, frame.whole) for signal in signals])
    if change is None:
        return image, mask
    outer, inner = _around(change.window, frame)
    changed = change.radiance(surface)
    difference = np.zeros(())
    developed = []
    for channel, (tint, signal) in enumerate(zip(tints, signals, strict=True)):
        light = radiance[outer].copy()
        light[inner] = changed if channels == 1 else changed * change.colour(channel)
        after = lens.signal(light * tint, outer)
        moved = after - signal[outer]
        difference = np.where(np.abs(moved) > np.abs(difference), moved, difference)
        developed.append(lens.develop(after, outer))
    marked = _marked(difference, inner, frame)
    mask[0][outer][marked] = 255
    rows, columns = outer
    before, after = image[:, rows, columns], np.stack(developed)
    same = marked & (after == before).all(0)
    after[:, same] = _moved(before[:, same], difference[same])
    before[:, marked] = after[:, marked]
    return image, mask


def _around(window: Window, frame: Frame) -> tuple[Window, Window]:
    """The window with what the blur of the lens takes from and brings to its surroundings; and where it lies in that."""
    outer, inner = [], []
    for part, side in zip(window, (frame.height, frame.width), strict=True):
        start = max(part.start - 2 * REACH, 0)
        outer.append(slice(start, min(part.stop + 2 * REACH, side)))
        inner.append(slice(part.start - start, part.stop - start))
    return (outer[0], outer[1]), (inner[0], inner[1])


def _marked(difference: Array, inner: Window, frame: Frame) -> Array:
    """Which pixels belong to the defect: where it is seen, with the holes that texture leaves in it filled.

    Args:
        difference: of grey levels, without noise [h, w].
        inner: where the defect was drawn.
        frame: the picture.
    """
    from scipy import ndimage  # as in the camera

    strength = np.abs(difference)
    reached = np.zeros(strength.shape, dtype=bool)
    rows, columns = (slice(max(part.start - REACH, 0), part.stop + REACH) for part in inner)
    reached[rows, columns] = True  # beyond, the window's border has blurred into itself
    strength *= reached
    visible = min(_VISIBLE, 0.5 * float(strength.max()))
    seen = strength >= visible
    side = max(3, 2 * round(0.008 * frame.unit) + 1)
    share = ndimage.uniform_filter(seen.astype(np.float64), side, mode="nearest")
    marked = (seen & (share > 0.3)) | (strength > 2 * visible) | (reached & (share > 0.55))
    if not marked.any():
        marked = strength == strength.max()
    return marked


def _moved(levels: Array, difference: Array) -> Array:
    """Levels [C, n] one step towards where the defect pulls, where rounding had left them."""
    up = np.where(levels == 255, False, np.where(levels == 0, True, difference > 0))
    return np.where(up, levels + 1, levels - 1).astype(np.uint8)
