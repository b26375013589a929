"""Aspect buckets: images keep nearly their own aspect ratio, in a few shapes of about the same number of pixels."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.core.seeds import derive_seed
from sadm.data.batches import BatchStream
from sadm.data.imageset import ImageSet
from sadm.data.order import EpochOrder

LARGEST_ASPECT = 2.0


@functools.lru_cache(maxsize=8)
def bucket_shapes(
    resolution: int, multiple: int = 8, largest_aspect: float = LARGEST_ASPECT
) -> tuple[tuple[int, int], ...]:
    """The shapes (width, height) that images are brought to, from the tallest to the widest.

    Each side is a multiple of `multiple`; for each width there is the height that comes nearest to resolution^2 pixels, and
    the same turned round; the longer side is at most `largest_aspect` times the shorter.

    Raises:
        UserError: `multiple` does not divide the resolution, or a value is out of range.
    """
    if multiple < 1 or resolution < multiple or resolution % multiple:
        raise UserError(
            f"--data.resolution is {resolution}; aspect buckets need a multiple of --data.bucket-multiple ({multiple}), since "
            "the square is one of them."
        )
    if not largest_aspect >= 1:
        raise UserError(f"the largest aspect ratio of buckets is {largest_aspect}; expected at least 1, such as 2.")
    shapes = {(resolution, resolution)}
    for width in range(resolution, math.ceil(resolution * largest_aspect) + 1, multiple):
        height = max(multiple, round(resolution**2 / width / multiple) * multiple)
        if width <= largest_aspect * height:
            shapes |= {(width, height), (height, width)}
    return tuple(sorted(shapes, key=lambda shape: (shape[0] / shape[1], shape)))


def nearest_shape(size: tuple[int, int], shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The shape whose aspect ratio is nearest to that of an image of (width, height), on a logarithmic scale.

    Of several with the same ratio, the one with most pixels.
    """
    aspect = math.log(size[0] / size[1])
    return min(shapes, key=lambda shape: (abs(math.log(shape[0] / shape[1]) - aspect), -shape[0] * shape[1], shape))


class BucketedStream(BatchStream):
    """The batches of a `BatchStream` for images in buckets: each batch is of one shape.

    Each image comes as often as the order says in the long run, also those of small buckets: buckets take turns in proportion
    to their images' places in the order, over every epoch up to one turn, and within a bucket images come as they would come
    from a set of their own. A bucket of fewer images than a batch repeats them within it.

    With all images in one bucket, the batches are those of a `BatchStream`, bit for bit.

    Args:
        images: a set whose images are `shaped`.
        batch_size, seed, options: as of `BatchStream`.

    Raises:
        UserError: as of `BatchStream`, or the images are of one shape.
    """

    def __init__(self, images: ImageSet, batch_size: int, seed: int, **options: Any) -> None:
        super().__init__(images, batch_size, seed, **options)
        if images.shaped is None:
            raise UserError(
                f"{images.source} was not read in buckets; expected images of several shapes. Use a BatchStream, or read with "
                '`Fit(policy="buckets")`.'
            )
        self.shaped = images.shaped
        shapes, bucket = self.shaped.shapes()
        self.shapes = tuple((height, width) for height, width in shapes.tolist())
        """Heights and widths of the buckets."""
        self._orders = [self.order.only(bucket == number) for number in range(len(shapes))]
        each = [torch.tensor([number]) for number in range(len(shapes))]
        turns = [Fraction(order.length, batch_size) for order in self._orders]
        self._turns = EpochOrder(each, turns, derive_seed(seed, "buckets"))

    def _index(self, step: int) -> torch.Tensor:
        bucket, turn = self._turn(step)
        first = turn * self.batch_size
        return self._orders[bucket].between(first + self.share.start, first + self.share.stop)

    def _turn(self, step: int) -> tuple[int, int]:
        """Which bucket's turn `step` is, and how many turns it had before."""
        epoch, place = self._turns.find(step)
        turns = self._turns.kept(epoch)
        bucket = int(turns[place])
        return bucket, self._turns.before(bucket, epoch) + int((turns[:place] == bucket).sum())

    def _pixels(self, index: torch.Tensor, step: int) -> torch.Tensor:
        return self.shaped.stacked(index)
