"""An endless stream of batches; batch k depends on the seed and on k alone, so that a run can resume anywhere."""

from __future__ import annotations

import dataclasses

import torch

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data.imageset import ImageSet, to_floats


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """One batch, on the CPU.

    Attributes:
        x0: clean images [B, C, H, W], float32 in [-1, 1].
        cond: their labels [B], where the set has any.
        index: their positions in the set [B], int64.
    """

    x0: torch.Tensor
    cond: Cond
    index: torch.Tensor


class BatchStream:
    """Shuffled batches, each image once per epoch, also where an epoch ends within a batch.

    Epoch e is one permutation, drawn from (seed, "order", e); the stream is these permutations laid end to end and cut
    every `batch_size` images. A batch larger than the set therefore repeats images.

    Where the set has `uncropped` images, each step draws a window of each, instead of its centre.

    Args:
        images: the set to draw from.
        batch_size: B.
        seed: decides order, windows and flips.
        flip: mirror each image left to right with probability 1/2.

    Raises:
        UserError: the set is empty or the batch size is not positive.
    """

    def __init__(self, images: ImageSet, batch_size: int, seed: int, flip: bool = False) -> None:
        if batch_size < 1:
            raise UserError(f"the batch size is {batch_size}; expected at least 1.")
        if len(images) == 0:
            raise UserError(f"{images.source} has no images to draw batches from; expected at least 1. Add images.")
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.flip = flip
        self._epoch = -1  # of which `_order` is the permutation
        self._order = torch.empty(0, dtype=torch.int64)

    @property
    def changes_pixels(self) -> bool:
        """Whether an image may look otherwise when it comes again."""
        return self.flip or self.images.uncropped is not None

    def batch(self, step: int) -> Batch:
        """The batch of step `step` >= 0; the cost does not grow with the step."""
        if step < 0:
            raise UserError(f"the batch of step {step} was asked for; expected 0 or more.")
        index = self._index(step)
        x0 = self._pixels(index, step)  # [B, C, H, W]
        if self.flip:
            coin = torch.rand(self.batch_size, generator=generator(self.seed, "flip", step)) < 0.5
            x0 = torch.where(coin.view(-1, 1, 1, 1), x0.flip(-1), x0)
        label = None if self.images.labels is None else self.images.labels[index]
        return Batch(x0=x0, cond=Cond(label=label), index=index)

    def _pixels(self, index: torch.Tensor, step: int) -> torch.Tensor:
        if self.images.uncropped is None:
            return self.images.floats(index)
        places = torch.rand(len(index), 2, generator=generator(self.seed, "crop", step))
        return to_floats(self.images.uncropped.windows(index, self.images.shape[1:], places))

    def _index(self, step: int) -> torch.Tensor:
        size = len(self.images)
        position, end = step * self.batch_size, (step + 1) * self.batch_size
        pieces = []
        while position < end:
            epoch, start = divmod(position, size)
            stop = min(size, start + end - position)
            pieces.append(self._permutation(epoch)[start:stop])
            position += stop - start
        return torch.cat(pieces)

    def _permutation(self, epoch: int) -> torch.Tensor:
        if epoch != self._epoch:
            self._order = torch.randperm(len(self.images), generator=generator(self.seed, "order", epoch))
            self._epoch = epoch
        return self._order
