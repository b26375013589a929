"""What costs nothing: real images of rare classes again, as they are or changed a little."""

from __future__ import annotations

import dataclasses

import torch

from sadm.core.seeds import derive_seed, generator
from sadm.data import Augmentation, Augmenter, ImageSet, to_uint8


def repeated(images: ImageSet, added: torch.Tensor, seed: int) -> ImageSet:
    """Images of each class again, each as often as the others of its class or once more.

    Args:
        images: labelled.
        added: how many of each class [K], int64; 0 where it has no images.
        seed: decides which come once more.
    """
    assert images.labels is not None  # noqa: S101 - for the type checker; callers have checked
    rows = []
    for label, count in enumerate(added.tolist()):
        members = (images.labels == label).nonzero().flatten()
        draws = generator(seed, "repeated", label)
        while count > 0:
            rows.append(members[torch.randperm(len(members), generator=draws)[:count]])
            count -= len(rows[-1])
    index = torch.cat(rows) if rows else torch.arange(0)
    return dataclasses.replace(images, uncropped=None, masks=None).subset(index)


def changed(images: ImageSet, augmentation: Augmentation, seed: int) -> ImageSet:
    """The same images, each flipped, turned, shifted and so on as `augmentation` says."""
    augmenter = Augmenter(augmentation, images.shape[0])
    draws = Augmenter.draws(derive_seed(seed, "changed"), 0, len(images))
    return dataclasses.replace(images, images=to_uint8(augmenter(images.floats(), draws)[0]))
