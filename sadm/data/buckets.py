"""Aspect buckets: images keep nearly their own aspect ratio, in a few shapes of about the same number of pixels."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import torch

from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data.batches import Batch, BatchStream
from sadm.data.imageset import ImageSet

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


class BucketedStream:
    """Batches of one shape each; batch k depends on the seed and on k alone.

    In a cycle of as many steps as there are images, each bucket has as many steps as it has images, in an order drawn from
    (seed, "buckets", cycle): so each image is equally likely in the long run, also those of small buckets. Within a bucket,
    images come as from a `BatchStream`.

    Args:
        buckets: sets of images, each of one shape; see `open_buckets`.
        batch_size: B.
        seed: decides order and flips.
        flip: mirror each image left to right with probability 1/2.

    Raises:
        UserError: no buckets, an empty one, or a batch size that is not positive.
    """

    def __init__(self, buckets: Sequence[ImageSet], batch_size: int, seed: int, flip: bool = False) -> None:
        if not buckets:
            raise UserError("there are no buckets to draw batches from; expected at least one. Add images.")
        self.buckets = tuple(buckets)
        self.seed = seed
        self.streams = [BatchStream(images, batch_size, seed, flip) for images in self.buckets]
        self._sizes = torch.tensor([len(images) for images in self.buckets])
        self._starts = self._sizes.cumsum(0) - self._sizes
        self._cycle = -1  # of which `_turns` and `_counts` are
        self._turns = self._counts = torch.empty(0, dtype=torch.int64)

    def batch(self, step: int) -> Batch:
        """The batch of step `step` >= 0; its index counts through all buckets, laid end to end."""
        if step < 0:
            raise UserError(f"the batch of step {step} was asked for; expected 0 or more.")
        cycle, place = divmod(step, int(self._sizes.sum()))
        self._turn_to(cycle)
        bucket = int(self._turns[place])
        seen = cycle * int(self._sizes[bucket]) + int(self._counts[place])  # batches of this bucket before this one
        batch = self.streams[bucket].batch(seen)
        return dataclasses.replace(batch, index=batch.index + int(self._starts[bucket]))

    def _turn_to(self, cycle: int) -> None:
        """`_turns`: whose turn each step of the cycle is; `_counts`: how often it was so before within the cycle."""
        if cycle == self._cycle:
            return
        owners = torch.arange(len(self.buckets)).repeat_interleave(self._sizes)
        self._turns = owners[torch.randperm(len(owners), generator=generator(self.seed, "buckets", cycle))]
        self._counts = torch.empty_like(self._turns)
        for bucket, size in enumerate(self._sizes.tolist()):
            self._counts[self._turns == bucket] = torch.arange(size)
        self._cycle = cycle
