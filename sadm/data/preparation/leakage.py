"""Images that belong together, and whether a split tears them apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import torch

from sadm.core.errors import UserError
from sadm.data.imageset import HELD_OUT, TRAIN, ImageSet
from sadm.data.preparation.clusters import Clusters
from sadm.data.preparation.duplicates import Pair
from sadm.data.records import Record
from sadm.data.splitting import split_by_class

KINDS = ("group", "exact", "near")
_FEWEST = 2  # images on each side


@dataclasses.dataclass(frozen=True)
class Leak:
    """Images that belong together, on both sides of the split that the source assigns.

    Attributes:
        kind: "group", "exact" (duplicates) or "near" (duplicates).
        train, held_out: positions on each side.
    """

    kind: str
    train: tuple[int, ...]
    held_out: tuple[int, ...]


def together(
    records: Sequence[Record], usable: Sequence[int], duplicates: Iterable[Sequence[int]], pairs: Iterable[Pair]
) -> list[str]:
    """Names the group of each usable image: images of one group of the source, and duplicates of each other, share it.

    Args:
        records: of all images.
        usable: positions of those that remain.
        duplicates: clusters of exact duplicates among all images; one that is left out still ties its groups together.
        pairs: near duplicates, by position among all images.

    Returns:
        For each of `usable`, a group; empty for an image that belongs to nothing else.
    """
    ties = (*_groups(records), *duplicates, *(pair.both for pair in pairs))
    roots = Clusters(len(records), ties).roots()
    names = dict(zip(reversed(roots), reversed(records), strict=True))  # the first record of each cluster names it
    counts: dict[int, int] = {}
    for i in usable:
        counts[roots[i]] = counts.get(roots[i], 0) + 1
    return [
        (names[roots[i]].group or names[roots[i]].name) if records[i].group is not None or counts[roots[i]] > 1 else ""
        for i in usable
    ]


def leaks(records: Sequence[Record], duplicates: Iterable[Sequence[int]], pairs: Iterable[Pair]) -> list[Leak]:
    """Finds what the source's own split tears apart; nothing where it assigns none."""
    near = Clusters(len(records), (pair.both for pair in pairs)).members()
    found = []
    for kind, clusters in zip(KINDS, (_groups(records), duplicates, near), strict=True):
        for members in clusters:
            sides = [tuple(i for i in members if records[i].part == part) for part in (TRAIN, HELD_OUT)]
            if all(sides):
                found.append(Leak(kind, *sides))
    return found


def _groups(records: Sequence[Record]) -> list[list[int]]:
    """Positions of the images of each group of the source."""
    members: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        if record.group is not None:
            members.setdefault(record.group, []).append(i)
    return list(members.values())


def assigns_split(records: Sequence[Record]) -> bool:
    """Whether the source holds some images out."""
    return any(record.part == HELD_OUT for record in records)


def keep_split(records: Sequence[Record], groups: Sequence[str]) -> tuple[list[str], list[int]]:
    """The source's own split, mended: held-out images that belong to training images go to training.

    Args:
        records: of the usable images.
        groups: of each, from `together`.

    Returns:
        The part of each image, and the positions of those that were moved.
    """
    trained = {group for record, group in zip(records, groups, strict=True) if group and record.part != HELD_OUT}
    moved = [
        i
        for i, (record, group) in enumerate(zip(records, groups, strict=True))
        if record.part == HELD_OUT and group in trained
    ]
    parts = [HELD_OUT if record.part == HELD_OUT else TRAIN for record in records]
    for i in moved:
        parts[i] = TRAIN
    return parts, moved


def make_split(
    records: Sequence[Record], groups: Sequence[str], held_out: float, seed: int, source: str
) -> tuple[list[str], str]:
    """A split made at random, by class, with groups kept together; see `split_by_class`.

    Returns:
        The part of each image, all for training where they cannot be divided; and why not.
    """
    names = sorted({record.class_name for record in records if record.class_name is not None})
    number = {name: c for c, name in enumerate(names)}
    labels = torch.tensor([number.get(str(record.class_name), 0) for record in records], dtype=torch.int64)
    stand_ins = ImageSet(
        images=torch.zeros(len(records), 1, 1, 1, dtype=torch.uint8),
        labels=labels if names else None,
        class_names=tuple(names),
        names=tuple(str(i) for i in range(len(records))),
        source=source,
        groups=tuple(group or f"\0{i}" for i, group in enumerate(groups)) if any(groups) else None,
    )
    parts = [TRAIN] * len(records)
    try:
        split = split_by_class(stand_ins, held_out, seed)
    except UserError as error:
        return parts, str(error)
    for name in split.held_out.names:
        parts[int(name)] = HELD_OUT
    return parts, ""


def too_few(parts: Sequence[str]) -> str:
    """Why a split cannot be used; empty where it can."""
    counts = {part: parts.count(part) for part in (TRAIN, HELD_OUT)}
    if min(counts.values()) >= _FEWEST:
        return ""
    return (
        f"the source's split leaves {counts[TRAIN]} images for training and {counts[HELD_OUT]} held out, less what belongs to "
        f"training images; at least {_FEWEST} of each are needed"
    )
