"""In which order images are seen: how often each comes in an epoch, and where."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Mapping, Sequence
from fractions import Fraction

import torch

from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data.imageset import ImageSet


class EpochOrder:
    """Epochs in which every kind of image takes up an exact number of places, whatever the draws.

    A kind of n images with a quota of q places an epoch goes round its images in a fixed order, q further every epoch: within an
    epoch, and over any number of epochs from the first, each of its images is seen as often as any other, up to one time.
    Epoch e is a permutation of those places, drawn from (seed, "order", e). Any epoch is made without those before it.

    A quota may be a fraction: after e epochs the kind has had e q places, rounded down, and epochs differ in length.

    Safe to use from several threads at once.

    Args:
        kinds: positions in the set [n], int64, for each kind; a kind without images needs the quota 0.
        quotas: places of each kind in an epoch; not all 0.
        seed: of the permutations.
    """

    def __init__(self, kinds: Sequence[torch.Tensor], quotas: Sequence[int | Fraction], seed: int) -> None:
        self.kinds, self.quotas, self.seed = tuple(kinds), tuple(quotas), seed
        self._rates = [Fraction(quota).as_integer_ratio() for quota in self.quotas]  # whole numbers are quicker
        self._recent: dict[int, torch.Tensor] = {}  # the last epochs asked for; replaced whole, for the sake of threads

    @functools.cached_property
    def length(self) -> int | Fraction:
        """Images in an epoch, repetitions counted; on average, where quotas are fractions."""
        return sum(self.quotas)

    def start(self, number: int) -> int:
        """Places in all epochs before epoch `number` >= 0."""
        return sum(self.before(kind, number) for kind in range(len(self.kinds)))

    def before(self, kind: int, number: int) -> int:
        """Places of one kind, by its position in `kinds`, in all epochs before epoch `number` >= 0."""
        over, under = self._rates[kind]
        return number * over // under

    def epoch(self, number: int) -> torch.Tensor:
        """Positions in the set, int64, in the order of epoch `number` >= 0: ``start(number + 1) - start(number)`` of them."""
        windows = []
        for kind, images in enumerate(self.kinds):
            first, stop = self.before(kind, number), self.before(kind, number + 1)
            if first < stop:
                windows.append(_window(images, first, stop - first))
        if not windows:
            return torch.empty(0, dtype=torch.int64)
        places = torch.cat(windows)
        return places[torch.randperm(len(places), generator=generator(self.seed, "order", number))]

    def between(self, first: int, stop: int) -> torch.Tensor:
        """Positions in the set [stop - first], int64: epochs laid end to end, from place `first` >= 0 up to place `stop`."""
        pieces = []
        while first < stop:
            number, offset = self.find(first)
            piece = self.kept(number)[offset : offset + stop - first]
            pieces.append(piece)
            first += len(piece)
        return torch.cat(pieces) if pieces else torch.empty(0, dtype=torch.int64)

    def find(self, place: int) -> tuple[int, int]:
        """The epoch of a place >= 0 in all epochs laid end to end, and which place of that epoch it is."""
        if isinstance(self.length, int):
            return divmod(place, self.length)
        # Rounding down leaves each kind less than a place behind, so `place` lies in one of these epochs.
        least, most = place // self.length, (place + len(self.kinds)) // self.length
        number = bisect.bisect_right(range(least, most + 1), place, key=self.start) + least - 1
        return number, place - self.start(number)

    def only(self, chosen: torch.Tensor) -> EpochOrder:
        """The order of some of the images, each of them coming in an epoch as often as here.

        Args:
            chosen: which images of the set stay [N], bool.
        """
        kinds, quotas = [], []
        for kind, quota in zip(self.kinds, self.quotas, strict=True):
            few = kind[chosen[kind]]
            if len(few):
                kinds.append(few)
                quotas.append(Fraction(quota * len(few), len(kind)))
        return EpochOrder(kinds, [int(quota) if quota.denominator == 1 else quota for quota in quotas], self.seed)

    def kept(self, number: int) -> torch.Tensor:
        """What `epoch` gives, made once for as long as it is asked for again and again; not to be changed."""
        recent = self._recent
        if number not in recent:
            last = [*recent.items()][-1:]  # two epochs, since threads may work on both sides of a border
            recent = self._recent = dict([*last, (number, self.epoch(number))])
        return recent[number]


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
