"""In which order images are seen: how often each comes in an epoch, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data.imageset import ImageSet


class EpochOrder:
    """Epochs in which every kind of image takes up an exact number of places, whatever the draws.

    A kind of n images with a quota of q places a epoch goes round its images in a fixed order, q further every epoch: within an
    epoch, and over any number of epochs from the first, each of its images is seen as often as any other, up to one time.
    Epoch e is a permutation of those places, drawn from (seed, "order", e). Any epoch is made without those before it.

    Args:
        kinds: positions in the set [n], int64, for each kind; a kind without images needs the quota 0.
        quotas: places of each kind in an epoch.
        seed: of the permutations.
    """

    def __init__(self, kinds: Sequence[torch.Tensor], quotas: Sequence[int], seed: int) -> None:
        self.kinds, self.quotas, self.seed = tuple(kinds), tuple(quotas), seed
        self._length = sum(self.quotas)

    def __len__(self) -> int:
        """Images in an epoch, repetitions counted."""
        return self._length

    def epoch(self, number: int) -> torch.Tensor:
        """Positions in the set [len(self)], int64, in the order of epoch `number` >= 0."""
        places = torch.cat(
            [_window(kind, number * quota, quota) for kind, quota in zip(self.kinds, self.quotas, strict=True) if quota]
        )
        return places[torch.randperm(self._length, generator=generator(self.seed, "order", number))]


def uniform_order(count: int, seed: int) -> EpochOrder:
    """Each of `count` images once an epoch."""
    return EpochOrder([torch.arange(count)], [count], seed)


def class_order(
    images: ImageSet, seed: int, balance: float = 0.0, repeat: Mapping[str, float] | None = None
) -> EpochOrder:
    """Some classes are seen more often than they have images; with neither option, each image is seen once an epoch.

    Args:
        images: the set; labels are needed for either option.
        seed: decides the order.
        balance: b in [0, 1]: a class of n images takes a share of the epoch in proportion to n^(1 - b), from as it is (0) to
            all classes alike (1). An epoch is as long as the set, up to rounding, and shows every class.
        repeat: places in an epoch for each image, by class name: 3 = three times an epoch, 0.5 = in every other one.
            Classes not named have 1; the epoch grows or shrinks accordingly. Every class is shown in every epoch.

    Raises:
        UserError: the set has no labels, there is no such class, a number is out of range, or both options are given.
    """
    if not balance and not repeat:
        return uniform_order(len(images), seed)
    _check(images, balance, repeat or {})
    assert images.labels is not None  # noqa: S101 - checked
    sizes = images.labels.bincount(minlength=images.num_classes).tolist()
    if balance:
        weights = [size ** (1 - balance) if size else 0.0 for size in sizes]
        places = [len(images) * weight / sum(weights) for weight in weights]
    else:
        factors = repeat or {}
        places = [size * factors.get(name, 1.0) for size, name in zip(sizes, images.class_names, strict=True)]
    quotas = [max(1, round(wanted)) if size else 0 for wanted, size in zip(places, sizes, strict=True)]
    return EpochOrder(_shuffled_classes(images.labels, sizes, seed), quotas, seed)


def _check(images: ImageSet, balance: float, repeat: Mapping[str, float]) -> None:
    if balance and repeat:
        raise UserError("--data.balance and --data.repeat both say how often a class is seen. Give one of them.")
    if images.labels is None:
        option = "balance" if balance else "repeat"
        raise UserError(
            f"--data.{option} is about classes, but {images.source} has no labels. Put the images into one folder for each "
            "class, or leave the option out."
        )
    if not 0 <= balance <= 1:
        raise UserError(f"--data.balance is {balance}; expected a number from 0 (as it is) to 1 (all classes alike).")
    for name, times in repeat.items():
        if name not in images.class_names:
            raise UserError(
                f"--data.repeat names the class '{name}', but {images.source} has {', '.join(images.class_names)}."
            )
        if not times > 0:
            raise UserError(f"--data.repeat of class '{name}' is {times}; expected a number above 0.")


def _shuffled_classes(labels: torch.Tensor, sizes: Sequence[int], seed: int) -> list[torch.Tensor]:
    """Positions of each class's images, in random order: those that a short epoch leaves out follow no pattern of the set."""
    shuffle = torch.randperm(len(labels), generator=generator(seed, "class order"))
    by_class = shuffle[labels[shuffle].sort(stable=True).indices]
    return list(by_class.split(list(sizes)))


def _window(kind: torch.Tensor, start: int, length: int) -> torch.Tensor:
    """`length` entries from `start` on, going round."""
    return kind[(torch.arange(length) + start % len(kind)) % len(kind)]
