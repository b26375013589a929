"""Work on images in batches in which each image's noise comes from its own seed, so that the batch changes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch

from sadm.core.conditions import Cond
from sadm.core.devices import denormals_flushed
from sadm.core.seeds import noise_per_image


@dataclasses.dataclass(frozen=True)
class ImageBatch:
    """Some of the images of a job.

    Attributes:
        rows: which of them.
        seeds: one for each.
        shape: of one image, (C, H, W).
        cond: their conditioning.
        device: where noise is given.
    """

    rows: slice
    seeds: Sequence[int]
    shape: tuple[int, ...]
    cond: Cond
    device: torch.device | str = "cpu"

    @property
    def noise(self) -> torch.Tensor:
        """Unit Gaussian noise to start from [b, C, H, W]."""
        return noise_per_image(self.seeds, self.shape).to(self.device)

    def draw(self, step: int) -> torch.Tensor:
        """Unit Gaussian noise of a step [b, C, H, W], independent of that of others and of `noise`."""
        return noise_per_image(self.seeds, self.shape, f"step {step}").to(self.device)


@denormals_flushed()
def in_batches(
    function: Callable[[ImageBatch], torch.Tensor],
    shape: Sequence[int],
    seeds: Sequence[int],
    cond: Cond,
    batch: int,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> torch.Tensor:
    """What `function` makes of each batch, as one tensor.

    Args:
        function: gives images [b, C, H, W] of a batch.
        shape: of one image, (C, H, W).
        seeds: one integer for each image.
        cond: conditioning of all images, on any device.
        batch: images at a time.
        device: where `function` works.
        progress: called with (images done, images in all).

    Returns:
        [N, C, H, W], float32, on the CPU.

    Raises:
        ValueError: a part of the conditioning has not one row for each seed.
    """
    for name, part in vars(cond).items():
        if part is not None and (len(part) != len(seeds) or (name == "label" and part.ndim != 1)):
            what = "labels" if name == "label" else f"cond.{name}"
            raise ValueError(f"{len(seeds)} images but {what} of shape {tuple(part.shape)}; expected one for each")
    images = torch.empty(len(seeds), *shape)
    for start in range(0, len(seeds), batch):
        rows = slice(start, start + batch)
        some = ImageBatch(rows, seeds[rows], tuple(shape), cond[rows].to(device), device)
        images[rows] = function(some).cpu()
        progress(min(start + batch, len(seeds)), len(seeds))
    return images
