"""Which images are held out, and which few are kept for training: by class and group, decided by a seed alone."""

from __future__ import annotations

import torch

from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data.grouping import held_out_groups
from sadm.data.imageset import HELD_OUT, ImageSet, Split

_FEWEST = 2  # images in each part: one alone has no relation to another


def check_share(held_out: float) -> None:
    """Raises a `UserError` unless the held-out share is strictly between 0 and 1."""
    if not 0 < held_out < 1:
        raise UserError(
            f"--data.held_out is {held_out}; expected a share between 0 and 1, such as 0.2. Without held-out images "
            "nothing that is measured could be trusted."
        )


def split_set(images: ImageSet, held_out: float, seed: int) -> Split:
    """Divides a set as its source says, or else at random.

    Where the source assigns images to the held-out part, that is the division, and all other images are for training. A source
    that holds nothing out, whatever it calls its training part, is divided by `split_by_class`.

    Args:
        images: the whole set.
        held_out: share to hold out where the source does not say.
        seed: of that division.

    Raises:
        UserError: as `split_by_class`; every image is assigned to the held-out part.
    """
    check_share(held_out)
    return division_of(images) or split_by_class(images, held_out, seed)


def division_of(images: ImageSet) -> Split | None:
    """The division that a source itself makes; None where it holds nothing out.

    Raises:
        UserError: every image is assigned to the held-out part.
    """
    if images.parts is None or HELD_OUT not in images.parts:
        return None
    chosen = torch.tensor([part == HELD_OUT for part in images.parts])
    if bool(chosen.all()):
        raise UserError(
            f"{images.source} assigns all of its {len(images)} images to the held-out part; expected some to train on. "
            "Correct its column of parts, or leave it out to divide the images at random."
        )
    return _divided(images, chosen)


def split_by_class(images: ImageSet, held_out: float, seed: int) -> Split:
    """Divides a set at random, each class in the same proportion, and no group on both sides.

    A class of n images gives held_out * n of them, rounded down or up so that the total is right; every class keeps at
    least one training image. Groups are chosen to come near to these numbers (see `held_out_groups`); a class whose images all
    belong to one group is not held out. Both parts stay in the order of the set.

    Args:
        images: the whole set; one class is assumed where it has no labels.
        held_out: share to hold out, strictly between 0 and 1.
        seed: decides the division, together with the set's order.

    Raises:
        UserError: the share is out of range, or a part would have fewer than 2 images.
    """
    check_share(held_out)
    if images.groups is not None:
        return _split_by_group(images, images.groups, held_out, seed)
    members = _members(images)
    counts = _held_out_counts([len(index) for index in members], held_out)
    if sum(counts) < _FEWEST or len(images) - sum(counts) < _FEWEST:
        raise UserError(
            f"{images.source}: {len(images)} images{_in_classes(images, members)} cannot be divided; training and "
            f"held-out part need at least {_FEWEST} images each, and every class one for training. Add images."
        )
    chosen = torch.zeros(len(images), dtype=torch.bool)
    for c, (index, count) in enumerate(zip(members, counts, strict=True)):
        order = torch.randperm(len(index), generator=generator(seed, "split", c))
        chosen[index[order[:count]]] = True
    return _divided(images, chosen)


def never_held_out(split: Split) -> tuple[str, ...]:
    """Names of the classes that have training images and no held-out ones, so that nothing can be measured on them."""
    if split.train.labels is None or split.held_out.labels is None:
        return ()
    trained, measured = (set(part.labels.tolist()) for part in (split.train, split.held_out) if part.labels is not None)
    return tuple(split.train.class_names[c] for c in sorted(trained - measured))


def keep_few(images: ImageSet, limit: int, seed: int) -> ImageSet:
    """At most `limit` images, each class in proportion and present at least once.

    For one seed, a smaller limit yields a subset of what a larger one yields, so that learning curves compare like with
    like.

    Raises:
        UserError: the limit is below 2 or below the number of classes.
    """
    members = _members(images)
    fewest = max(_FEWEST, len(members))
    if limit < fewest:
        raise UserError(
            f"--data.limit is {limit}; expected at least {fewest} for the {len(images)} training images"
            f"{_in_classes(images, members)} of {images.source}: one for each class, and never fewer than {_FEWEST}."
        )
    if limit >= len(images):
        return images
    rank = torch.empty(len(images), dtype=torch.float64)
    for c, index in enumerate(members):
        order = torch.randperm(len(index), generator=generator(seed, "limit", c))
        rank[index[order]] = torch.arange(len(index), dtype=torch.float64) / len(index)  # 0 for one image of each class
    first = torch.sort(rank, stable=True).indices[:limit]
    return images.subset(first.sort().values)


def thin_classes(images: ImageSet, keep: dict[str, float], seed: int) -> ImageSet:
    """Keeps a share of some classes, at least one image of each, to train on unbalanced data.

    Args:
        images: labelled images.
        keep: share in (0, 1] by class name; other classes stay whole.
        seed: decides which images stay; a smaller share keeps a subset of what a larger one keeps.

    Raises:
        UserError: no such class, or a share out of range.
    """
    stays = torch.ones(len(images), dtype=torch.bool)
    for name, share in keep.items():
        if name not in images.class_names:
            known = ", ".join(images.class_names) or "no classes"
            raise UserError(f"--data.keep names the class '{name}', but {images.source} has {known}.")
        if not 0 < share <= 1:
            raise UserError(f"--data.keep of class '{name}' is {share}; expected a share above 0 and at most 1.")
        assert images.labels is not None  # noqa: S101 - class names come with labels
        index = (images.labels == images.class_names.index(name)).nonzero().flatten()
        order = torch.randperm(len(index), generator=generator(seed, "keep", name))
        stays[index[order[max(1, round(share * len(index))) :]]] = False
    return images if bool(stays.all()) else images.subset(stays.nonzero().flatten())


def _split_by_group(images: ImageSet, groups: tuple[str, ...], held_out: float, seed: int) -> Split:
    members = _members(images)
    labels = [0] * len(images) if images.labels is None else images.labels.tolist()
    counts = _held_out_counts([len(index) for index in members], held_out)
    targets = {labels[index[0]]: count for index, count in zip(members, counts, strict=True)}
    chosen = held_out_groups(groups, labels, targets, _FEWEST, seed)
    if chosen is None:
        number = len(set(groups))
        found = f"one group, '{groups[0]}'," if number == 1 else f"{number} groups{_in_classes(images, members)}"
        raise UserError(
            f"{images.source}: {len(images)} images of {found} cannot be divided; training and held-out part need at least "
            f"{_FEWEST} images each, every class one for training, and a group stays together. Add images of other groups, or "
            "leave the groups out."
        )
    return _divided(images, chosen)


def _divided(images: ImageSet, chosen: torch.Tensor) -> Split:
    """Those chosen [N] are held out."""
    return Split(train=images.subset((~chosen).nonzero().flatten()), held_out=images.subset(chosen.nonzero().flatten()))


def _members(images: ImageSet) -> list[torch.Tensor]:
    """Positions of the images of each class that has any."""
    if images.labels is None:
        return [torch.arange(len(images))]
    order = torch.sort(images.labels, stable=True).indices  # one pass, for sets of 10,000 classes
    return [index for index in order.split(images.labels.bincount().tolist()) if len(index)]


def _in_classes(images: ImageSet, members: list[torch.Tensor]) -> str:
    return "" if images.labels is None else f" in {len(members)} class{'es' if len(members) > 1 else ''}"


def _held_out_counts(sizes: list[int], share: float) -> list[int]:
    """How many of each class to hold out: largest remainders, one of each class left for training."""
    total = sum(sizes)
    share = min(share, max(total - _FEWEST, 0) / total) if total else 0.0
    target = max(round(total * share), _FEWEST)
    counts = [min(int(size * share), size - 1) for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda c: (counts[c] - sizes[c] * share, c))
    while sum(counts) < target:
        open_classes = [c for c in by_remainder if counts[c] < sizes[c] - 1]
        if not open_classes:
            break
        for c in open_classes[: target - sum(counts)]:
            counts[c] += 1
    return counts
