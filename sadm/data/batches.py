"""An endless stream of batches; batch k depends on the seed and on k alone, so that a run can resume anywhere."""

from __future__ import annotations

import dataclasses

import torch

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data.augment import Augmenter
from sadm.data.imageset import ImageSet


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """One batch, on the CPU.

    Attributes:
        x0: clean images [B, C, H, W], float32 in [-1, 1].
        cond: their labels [B], where the set has any, and what augmentation did to them [B, k], where there is any.
        index: their positions in the set [B], int64.
    """

    x0: torch.Tensor
    cond: Cond
    index: torch.Tensor


class BatchStream:
    """Shuffled batches, each image once per epoch, also where an epoch ends within a batch.

    Epoch e is one permutation, drawn from (seed, "order", e); the stream is these permutations laid end to end and cut
    every `batch_size` images. A batch larger than the set therefore repeats images.

    Args:
        images: the set to draw from.
        batch_size: B.
        seed: decides order, flips and augmentation.
        flip: mirror each image left to right with probability 1/2.
        augmenter: what else is done to images, and told in `Batch.cond`.

    Raises:
        UserError: the set is empty or the batch size is not positive.
    """

    def __init__(
        self, images: ImageSet, batch_size: int, seed: int, flip: bool = False, augmenter: Augmenter | None = None
    ) -> None:
        if batch_size < 1:
            raise UserError(f"the batch size is {batch_size}; expected at least 1.")
        if len(images) == 0:
            raise UserError(f"{images.source} has no images to draw batches from; expected at least 1. Add images.")
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.flip = flip
        self.augmenter = augmenter
        self._epoch = -1  # of which `_order` is the permutation
        self._order = torch.empty(0, dtype=torch.int64)

    @property
    def changes_pixels(self) -> bool:
        """Whether an image of the set has other pixels from time to time, so that nothing seen in it may be kept by its index."""
        return self.flip or self.augmenter is not None

    def batch(self, step: int) -> Batch:
        """The batch of step `step` >= 0; the cost does not grow with the step."""
        if step < 0:
            raise UserError(f"the batch of step {step} was asked for; expected 0 or more.")
        index = self._index(step)
        x0 = self.images.floats(index)  # [B, C, H, W]
        if self.flip:
            coin = torch.rand(self.batch_size, generator=generator(self.seed, "flip", step)) < 0.5
            x0 = torch.where(coin.view(-1, 1, 1, 1), x0.flip(-1), x0)
        augment = None
        if self.augmenter is not None:
            x0, augment = self.augmenter(x0, self.augmenter.draws(self.seed, step, self.batch_size))
        label = None if self.images.labels is None else self.images.labels[index]
        return Batch(x0=x0, cond=Cond(label=label, augment=augment), index=index)

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
