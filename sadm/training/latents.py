"""Training on latents: the moments of their posteriors come from a cache, and latents are drawn from them anew at each use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data import BatchStream, BucketedStream, ImageSet
from sadm.data.cache import Fact, TensorStore, describe_differences
from sadm.models import Moments

KIND = "latents"
"""The kind of cache (see `Manifest.kind`)."""
_SHOWN = 3  # examples in a message


class LatentSet:
    """Images as posteriors of latents; training takes it in the place of an `ImageSet`.

    Args:
        store: a complete cache of these images, perhaps among others.
        images: the images themselves, for their labels and names.
        wanted: facts that the cache must agree with (see `Manifest.about`).
        transform: how the images were brought to one shape, to explain why some are not there.

    Raises:
        UserError: the cache disagrees, or lacks some of the images.
    """

    def __init__(
        self,
        store: TensorStore,
        images: ImageSet,
        wanted: Mapping[str, Fact],
        transform: Mapping[str, Fact] | None = None,
    ) -> None:
        changed = describe_differences(wanted, store.manifest.about)
        if changed:
            raise UserError(
                f"{store.folder} holds other latents ({'; '.join(changed)}). Give the stored values, choose another folder "
                "(--data.latents), or delete this one to encode anew."
            )
        self.store, self.images = store, images
        self._rows = self._find(images.keys, transform or {})  # [N]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labels(self) -> torch.Tensor | None:
        """As of the images."""
        return self.images.labels

    @property
    def class_names(self) -> tuple[str, ...]:
        """As of the images."""
        return self.images.class_names

    @property
    def num_classes(self) -> int:
        """As of the images."""
        return self.images.num_classes

    @property
    def source(self) -> str:
        """As of the images."""
        return self.images.source

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one latent: (c, h, w)."""
        channels, height, width = self.store.manifest.tensors["mean"].shape
        return channels, height, width

    def std(self) -> float:
        """Standard deviation of all numbers of all latents, draws included."""
        mean, square = self.store.column("powers")[self._rows].mean(0).tolist()
        return float((square - mean**2) ** 0.5)

    def moments(self, index: torch.Tensor, mirrored: torch.Tensor) -> Moments:
        """Posteriors of the latents of some images, float32.

        Args:
            index: positions in the set [B], int64.
            mirrored: places in `index` of the images to be mirrored left to right [M], int64; the cache must hold such moments.
        """
        rows = self._rows[index]
        mean, std = self.store.read("mean", rows), self.store.read("std", rows)  # [B, c, h, w]
        if len(mirrored):
            mean[mirrored] = self.store.read("mean_mirrored", rows[mirrored])
            std[mirrored] = self.store.read("std_mirrored", rows[mirrored])
        return Moments(mean.float(), std.float())

    def _find(self, keys: torch.Tensor, transform: Mapping[str, Fact]) -> torch.Tensor:
        """Rows of the cache [N] that hold the images with these keys."""
        stored, order = self.store.column("key").sort(stable=True)
        place = torch.searchsorted(stored, keys).clamp(max=len(stored) - 1)
        lost = (stored[place] != keys).nonzero().flatten().tolist()
        if lost:
            self._refuse(lost, transform)
        return order[place]

    def _refuse(self, lost: list[int], transform: Mapping[str, Fact]) -> None:
        names = ", ".join(f"'{self.images.names[i]}'" for i in lost[:_SHOWN])
        more = ", …" if len(lost) > _SHOWN else ""
        changed = describe_differences(transform, self.store.manifest.made.get("transform") or transform)
        cause = "images were changed or added since they were encoded"
        if changed:
            cause = f"they were brought to one shape otherwise ({'; '.join(changed)})"
        raise UserError(
            f"{self.store.folder} lacks the latents of {len(lost)} of the {len(self)} training images ({names}{more}): {cause}. "
            "Undo that, choose another folder (--data.latents), or delete this one to encode anew."
        )


class LatentStream(BatchStream):
    """The batches of a `BatchStream`, with latents as x0: the same images in the same order with the same flips.

    x0 [B, c, h, w] = mean + std * eps, as float32; the eps of a place in a batch comes from (seed, "posterior", step, place).

    Args:
        latents: the set to draw from.
        batch_size, seed, options: as of `BatchStream`; no augmenter, since it changes pixels.
    """

    def __init__(self, latents: LatentSet, batch_size: int, seed: int, **options: Any) -> None:
        super().__init__(latents.images, batch_size, seed, **options)
        self.latents = latents

    @property
    def changes_pixels(self) -> bool:
        """True: each use is another draw."""
        return True

    def _x0(self, index: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        mean, std = self.latents.moments(index, self._mirrored(step))
        places = range(self.share.start, self.share.stop)
        draws = (generator(self.seed, "posterior", step, place) for place in places)
        return mean + std * torch.stack([torch.randn(self.latents.shape, generator=each) for each in draws]), None


TrainingSet = ImageSet | LatentSet
"""What a model is trained on."""


def pictures_of(images: TrainingSet) -> ImageSet:
    """The images themselves, where these are their latents."""
    return images.images if isinstance(images, LatentSet) else images


def part_of(images: TrainingSet, pictures: ImageSet) -> TrainingSet:
    """Some of the images of a training set, or of those whose latents it has."""
    return LatentSet(images.store, pictures, {}) if isinstance(images, LatentSet) else pictures


def open_stream(images: TrainingSet, batch_size: int, seed: int, **options: Any) -> BatchStream:
    """Batches of images, of one shape or in buckets, or of latents; `options` as of `BatchStream`."""
    kind: Any = BatchStream
    if isinstance(images, LatentSet):
        kind = LatentStream
    elif images.shaped is not None:
        kind = BucketedStream
    return kind(images, batch_size, seed, **options)
