"""An endless stream of batches; batch k depends on the seed and on k alone, so that a run can resume anywhere."""

from __future__ import annotations

import dataclasses

import torch

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data.augment import Augmenter
from sadm.data.imageset import ImageSet, to_floats
from sadm.data.order import EpochOrder, uniform_order
from sadm.data.told import Told


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """One batch, on the CPU.

    Attributes:
        x0: clean images [B, C, H, W], float32 in [-1, 1].
        cond: their labels [B], where the set has any, what augmentation did to them [B, k], where there is any, and what else a
            network is told of them.
        index: their positions in the set [B], int64.
    """

    x0: torch.Tensor
    cond: Cond
    index: torch.Tensor


def share_of(rows: int, rank: int, world: int) -> slice:
    """Which of a batch's rows a process has: consecutive ones, as many as others or one more or less."""
    return slice(rows * rank // world, rows * (rank + 1) // world)


class BatchStream:
    """Shuffled batches: the epochs of an order laid end to end and cut every `batch_size` images.

    Of several processes, each gets its share of the same batches: shares are consecutive, differ by at most one image, and what
    is drawn for an image depends on its place in the whole batch, so that N processes together see what one would see. Where
    shares differ, a mean over processes must weigh them by their images.

    Safe to call from several threads at once.

    Where the set has `uncropped` images, each step draws a window of each, instead of its centre.

    Args:
        images: the set to draw from.
        batch_size: images a step, over all processes. A batch larger than an epoch repeats images.
        seed: decides order, windows, flips and augmentation.
        flip: mirror each image left to right with probability 1/2.
        order: how often each image comes in an epoch, and where; None = each once, in a new order every epoch.
        rank: which of the processes this is, from 0.
        world: how many processes share a batch.
        augmenter: what else is done to images, and told in `Batch.cond`.
        told: what else the network is told of images, in `Batch.cond`. Masks are mirrored with their images, and follow them
            nowhere else.

    Raises:
        UserError: the set is empty, the batch does not give each process an image, or the rank does not exist.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        seed: int,
        flip: bool = False,
        order: EpochOrder | None = None,
        rank: int = 0,
        world: int = 1,
        augmenter: Augmenter | None = None,
        told: Told | None = None,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"the batch size is {batch_size}; expected at least 1.")
        if len(images) == 0:
            raise UserError(f"{images.source} has no images to draw batches from; expected at least 1. Add images.")
        if not 0 <= rank < world:
            raise UserError(f"rank {rank} of {world} processes was asked for; expected 0 to {world - 1}.")
        if batch_size < world:
            raise UserError(
                f"the batch size is {batch_size} for {world} processes; expected at least one image for each. Use a larger "
                "batch or fewer processes."
            )
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.flip = flip
        self.augmenter = augmenter
        self.told = told
        self.order = order or uniform_order(len(images), seed)
        self.share = share_of(batch_size, rank, world)
        """Places of this process within the whole batch."""

    @property
    def changes_pixels(self) -> bool:
        """Whether an image has other pixels from time to time, so that nothing seen in it may be kept by its index."""
        return self.flip or self.augmenter is not None or self.images.uncropped is not None

    def batch(self, step: int) -> Batch:
        """This process's share of the batch of step `step` >= 0; the cost does not grow with the step."""
        if step < 0:
            raise UserError(f"the batch of step {step} was asked for; expected 0 or more.")
        index = self._index(step)
        x0, augment = self._x0(index, step)  # [B, C, H, W], [B, k]
        label = None if self.images.labels is None else self.images.labels[index]
        cond = Cond(label=label, augment=augment)
        if self.told is not None:
            more = self.told.cond(x0, index, self._mirrored(step), step, self.batch_size, self.share)
            cond = dataclasses.replace(cond, attributes=more.attributes, image=more.image)
        return Batch(x0=x0, cond=cond, index=index)

    def _x0(self, index: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The images at `index` as they are seen in `step`, and what augmentation did to them."""
        pixels, turned = self._pixels(index, step), self._mirrored(step)
        if len(turned):  # as bytes, the cheapest form
            pixels.index_copy_(0, turned, pixels.index_select(0, turned).flip(-1))
        if self.augmenter is None:
            return to_floats(pixels), None
        draws = self.augmenter.draws(self.seed, step, self.batch_size)
        return self.augmenter(to_floats(pixels), draws[self.share])

    def _pixels(self, index: torch.Tensor, step: int) -> torch.Tensor:
        """Bytes [B, C, H, W], a new tensor."""
        if self.images.uncropped is None:
            return self.images.images.index_select(0, index)
        places = torch.rand(self.batch_size, 2, generator=generator(self.seed, "crop", step))
        return self.images.uncropped.windows(index, self.images.shape[1:], places[self.share])

    def _mirrored(self, step: int) -> torch.Tensor:
        """Places in this process's share of the images that are mirrored in `step`: [M], int64."""
        if not self.flip:
            return torch.empty(0, dtype=torch.int64)
        draws = torch.rand(self.batch_size, generator=generator(self.seed, "flip", step))
        return (draws[self.share] < 0.5).nonzero().flatten()

    def _index(self, step: int) -> torch.Tensor:
        first = step * self.batch_size
        return self.order.between(first + self.share.start, first + self.share.stop)
