"""Groups stay together when a set is divided, and classes keep their proportions as far as groups allow."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections import Counter

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from sadm.core.errors import UserError
from sadm.data import ImageSet, Split, never_held_out
from sadm.data.splitting import keep_few, split_by_class, split_set, thin_classes

GROUPS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=8), min_size=1, max_size=25)
"""For each group, the classes of its images."""


def grouped(groups: list[list[int]], labelled: bool = True) -> ImageSet:
    """Image i is named i; the images of all groups are mixed."""
    pairs = [(f"part {g}", c) for g, group in enumerate(groups) for c in group]
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(1)).tolist()
    pairs = [pairs[i] for i in order]
    return ImageSet(
        images=torch.zeros(len(pairs), 1, 2, 2, dtype=torch.uint8),
        labels=torch.tensor([c for _, c in pairs]) if labelled else None,
        class_names=("a", "b", "c", "d") if labelled else (),
        names=tuple(map(str, range(len(pairs)))),
        source="parts",
        groups=tuple(group for group, _ in pairs),
    )


def groups_of(images: ImageSet) -> set[str]:
    assert images.groups is not None
    return set(images.groups)


def counts(images: ImageSet) -> list[int]:
    assert images.labels is not None
    return images.labels.bincount(minlength=4).tolist()


def error(split: Split, share: float) -> float:
    """Sum over classes of (share held out - share asked for)^2."""
    held_out, train = counts(split.held_out), counts(split.train)
    return sum((h / (h + t) - share) ** 2 for h, t in zip(held_out, train, strict=True) if h + t)


@settings(max_examples=200, deadline=None)
@example(groups=[[0], [1, 1], [1]], share=0.5, seed=0, labelled=True)  # the single image must not be taken first
@given(groups=GROUPS, share=st.floats(0.05, 0.6), seed=st.integers(0, 2**31), labelled=st.booleans())
def test_no_group_is_on_both_sides(groups: list[list[int]], share: float, seed: int, labelled: bool) -> None:
    images = grouped(groups, labelled)
    try:
        split = split_by_class(images, share, seed)
    except UserError:
        assert not _can_be_divided(images, labelled)
        return
    assert not groups_of(split.train) & groups_of(split.held_out)
    assert sorted([*split.train.names, *split.held_out.names], key=int) == list(images.names)
    assert list(split.train.names) == sorted(split.train.names, key=int)
    assert min(len(split.train), len(split.held_out)) >= 2
    if labelled:
        assert all(left > 0 for left, size in zip(counts(split.train), counts(images), strict=True) if size)
    again = split_by_class(images, share, seed)
    assert again.held_out.names == split.held_out.names


def _can_be_divided(images: ImageSet, labelled: bool) -> bool:
    """Whether one group or two leave images of every class, and two images, in training, and hold two out."""
    whole = counts(images) if labelled else []
    for names in [*itertools.combinations(groups_of(images), 1), *itertools.combinations(groups_of(images), 2)]:
        chosen = torch.tensor([group in names for group in images.groups or ()])
        rest = images.subset((~chosen).nonzero().flatten())
        enough = int(chosen.sum()) >= 2 and len(rest) >= 2
        if enough and (
            not labelled or all(bool(left) == bool(size) for left, size in zip(counts(rest), whole, strict=True))
        ):
            return True
    return False


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_proportions_are_nearer_than_those_of_scikit_learns_grouped_folds() -> None:
    ours, theirs = [], []
    for trial in range(40):
        draws = random.Random(trial)
        kinds = [draws.randrange(4) for _ in range(draws.randint(12, 60))]
        images = grouped(
            [
                [kind if draws.random() < 0.8 else draws.randrange(4) for _ in range(draws.randint(1, 8))]
                for kind in kinds
            ]
        )
        ours.append(error(split_by_class(images, 0.2, trial), 0.2))
        assert images.labels is not None
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=trial)
        train, held_out = next(iter(folds.split(images.names, images.labels.numpy(), images.groups)))
        theirs.append(
            error(Split(images.subset(torch.from_numpy(train)), images.subset(torch.from_numpy(held_out))), 0.2)
        )
    assert sum(a <= b for a, b in zip(ours, theirs, strict=True)) > 30
    assert sum(ours) < sum(theirs)


def test_groups_of_one_class_and_size_are_divided_exactly() -> None:
    images = grouped([[c] * 5 for c in (0, 1) for _ in range(20)])
    for seed in range(5):
        assert counts(split_by_class(images, 0.2, seed).held_out) == [20, 20, 0, 0]
    different = {split_by_class(images, 0.2, seed).held_out.names for seed in range(5)}
    assert len(different) == 5


def test_groups_of_mixed_sizes_come_near() -> None:
    draws = torch.Generator().manual_seed(0)
    sizes = torch.randint(1, 12, (200,), generator=draws).tolist()
    kinds = torch.multinomial(torch.tensor([0.7, 0.2, 0.08, 0.02]), 200, replacement=True, generator=draws).tolist()
    images = grouped([[kind] * size for size, kind in zip(sizes, kinds, strict=True)])
    split = split_by_class(images, 0.2, 0)
    missing = [round(0.2 * size) - held for held, size in zip(counts(split.held_out), counts(images), strict=True)]
    left = Counter(split.train.groups)
    for c in range(4):
        open_groups = [left[f"part {g}"] for g, k in enumerate(kinds) if k == c and f"part {g}" in left]
        assert abs(missing[c]) <= min(open_groups) / 2 + 1  # no other group would have brought this class nearer


def test_a_group_for_each_image_gives_the_counts_of_a_split_without_groups() -> None:
    images = grouped([[c] for c in [0] * 37 + [1] * 14 + [2] * 5])
    plain = split_by_class(dataclasses.replace(images, groups=None), 0.25, 3)
    assert counts(split_by_class(images, 0.25, 3).held_out) == counts(plain.held_out)


def test_a_class_of_one_group_stays_in_training_and_is_named() -> None:
    images = grouped([[0] * 4 for _ in range(10)] + [[1] * 6] + [[2, 0]] * 5)
    split = split_by_class(images, 0.2, 0)
    assert counts(split.train)[1] == 6
    assert never_held_out(split) == ("b",)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([[0, 0, 1, 1, 1]], "parts: 5 images of one group, 'part 0', cannot be divided.*a group stays together"),
        ([[0] * 6, [1] * 6], "12 images of 2 groups in 2 classes cannot be divided"),
    ],
)
def test_groups_that_can_not_be_divided_are_refused(groups: list[list[int]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_by_class(grouped(groups), 0.2, 0)


def test_fewer_images_keep_their_groups() -> None:
    images = split_by_class(grouped([[c] * 5 for c in (0, 1) for _ in range(10)]), 0.2, 0).train
    group = dict(zip(images.names, images.groups or (), strict=True))
    for fewer in (keep_few(images, 11, 0), thin_classes(images, {"a": 0.3}, 0)):
        assert len(fewer) < len(images)
        assert [group[name] for name in fewer.names] == list(fewer.groups or ())


def with_parts(parts: list[str]) -> ImageSet:
    names = tuple(map(str, range(len(parts))))
    pixels = torch.zeros(len(parts), 1, 2, 2, dtype=torch.uint8)
    return ImageSet(pixels, None, (), names, "assigned", parts=tuple(parts), groups=("one",) * len(parts))


def test_what_the_source_holds_out_is_held_out() -> None:
    split = split_set(with_parts(["train", "held_out", "", "held_out", "train"]), 0.9, 0)
    assert split.held_out.names == ("1", "3")
    assert split.train.names == ("0", "2", "4")


@pytest.mark.parametrize("parts", [["train"] * 20, [""] * 20, ["train", ""] * 10])
def test_a_source_that_holds_nothing_out_is_divided_at_random(parts: list[str]) -> None:
    images = dataclasses.replace(with_parts(parts), groups=None)
    plain = dataclasses.replace(images, parts=None)
    assert split_set(images, 0.2, 7).held_out.names == split_by_class(plain, 0.2, 7).held_out.names


def test_a_source_without_training_images_is_refused() -> None:
    with pytest.raises(UserError, match="assigned assigns all of its 3 images to the held-out part"):
        split_set(with_parts(["held_out"] * 3), 0.2, 0)
