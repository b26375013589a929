"""Images of the report, embedded as PNG."""

from __future__ import annotations

import base64
import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sadm.core.grids import check_pictures, grid_png
from sadm.data import ImageSet

if TYPE_CHECKING:
    from sadm.experiments.run_audits import Pairs

_LARGEST_TILE = 128  # pixels; larger images are averaged down so that the file can be mailed


@dataclasses.dataclass(frozen=True)
class Pictures:
    """What the report shows as images; all uint8, C = 1, 3 or 4. Every part may be empty.

    Attributes:
        samples: per arm, generated images [n, H, W, C] from the same noise in the same order.
        real: real images [n, H, W, C], those of one place of the same class as the samples.
        labels: class name of each sample (n of them), or of each column where fewer are given; None without classes.
        neighbours: per arm, generated images [m, H, W, C], the training image nearest to each (alike), m distances.
        pairs: per arm that was audited, instead of these: the images most like a training image.
    """

    samples: dict[str, np.ndarray]
    real: np.ndarray
    labels: list[str] | None = None
    neighbours: dict[str, tuple[np.ndarray, np.ndarray, list[float]]] = dataclasses.field(default_factory=dict)
    pairs: dict[str, Pairs] = dataclasses.field(default_factory=dict)


def grid_uri(images: np.ndarray, columns: int, limit: int = _LARGEST_TILE) -> str:
    """A grid as a data URI, with images whose sides exceed `limit` pixels reduced."""
    small = thumbnails(images, limit)
    png = grid_png(small, columns, None if small is images else 1)  # what was reduced is not enlarged again
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def tile_side(tiles: int, channels: int, budget: int) -> int:
    """The side in pixels, `_LARGEST_TILE` at most, at which so many images fit into so many bytes, be they noise."""
    return max(8, min(_LARGEST_TILE, math.isqrt(budget // max(1, tiles * channels))))


def image_uri(images: ImageSet, position: int) -> str:
    """One image of a set as a data URI."""
    return grid_uri(np.ascontiguousarray(images.images[position : position + 1].permute(0, 2, 3, 1).numpy()), 1)


def thumbnails(images: np.ndarray, limit: int = _LARGEST_TILE) -> np.ndarray:
    """Averages images [n, H, W, C] down until neither side exceeds `limit`; smaller ones are returned as they are."""
    check_pictures(images)
    height, width = images.shape[1:3]
    if max(height, width) <= limit:
        return images
    share = limit / max(height, width)
    size = (max(1, round(width * share)), max(1, round(height * share)))
    mode_axes = images[..., 0] if images.shape[-1] == 1 else images
    small = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX)) for image in mode_axes]
    return np.stack(small).reshape(len(images), size[1], size[0], images.shape[-1])


def column_layout(labels: list[str] | None, count: int, widest: int = 12) -> tuple[int, list[str]]:
    """How to arrange samples: images per row, and the class name over each column where a column has one class.

    Args:
        labels: a name per sample or per column, or None.
        count: number of samples.
        widest: most images per row.
    """
    fallback = min(count, 10)
    if not labels:
        return fallback, []
    if len(labels) < count:
        return (len(labels), labels) if len(labels) <= widest else (fallback, [])
    shown = labels[:count]
    for period in range(2, min(widest, count) + 1):
        if count % period == 0 and all(name == shown[index % period] for index, name in enumerate(shown)):
            return period, shown[:period]
    return fallback, []
