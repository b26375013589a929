"""Dispatch by name, the digits, and the properties of a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from sadm.core.errors import UserError
from sadm.data import BUILT_IN_SOURCES, ImageSet, load_split, open_source
from sadm.data.splitting import keep_few, split_by_class, thin_classes


def numbered(sizes: list[int] | int) -> ImageSet:
    """A set whose image i is named i; classes of the given sizes, interleaved, or a count of unlabelled images."""
    labels = None
    if isinstance(sizes, list):
        labels = torch.cat([torch.full((size,), c) for c, size in enumerate(sizes)])
        labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    count = sizes if isinstance(sizes, int) else sum(sizes)
    return ImageSet(
        images=torch.zeros(count, 1, 2, 2, dtype=torch.uint8),
        labels=labels,
        class_names=tuple(f"c{c}" for c in range(len(sizes))) if isinstance(sizes, list) else (),
        names=tuple(str(i) for i in range(count)),
        source="numbered",
    )


def counts(images: ImageSet) -> list[int]:
    assert images.labels is not None
    return images.labels.bincount(minlength=images.num_classes).tolist()


def test_digits() -> None:
    images = open_source("digits")
    assert isinstance(images, ImageSet)
    assert (len(images), images.shape, images.num_classes) == (1797, (1, 8, 8), 10)
    assert images.class_names == tuple("0123456789")
    assert images.names[12] == "digits/12"
    assert (images.images.min(), images.images.max()) == (0, 255)
    assert len(images.images.unique()) == 17


def test_digits_fitted() -> None:
    native = open_source("digits")
    assert isinstance(native, ImageSet)
    for side in (4, 16):
        fitted = open_source("digits", resolution=side, channels=3)
        assert isinstance(fitted, ImageSet)
        assert fitted.shape == (3, side, side)
        for i in range(0, 1797, 100):
            exact = Image.fromarray(native.images[i, 0].numpy().astype(np.float32))
            resized = np.array(exact.resize((side, side), Image.Resampling.BICUBIC)).clip(0, 255)
            assert (fitted.images[i] - torch.from_numpy(resized)).abs().max() < 0.51


def test_a_built_in_word_always_means_the_built_in_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "digits").mkdir()
    for i in range(2):
        Image.new("L", (4, 4), i).save(tmp_path / "digits" / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    lengths = [len(opened) for word in ("digits", "./digits") if isinstance(opened := open_source(word), ImageSet)]
    assert lengths == [1797, 2]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("digit", "Did you mean 'digits'"),
        ("Fashion_MNIST", "Did you mean 'fashion-mnist'"),
        ("no/such/folder", "'no/such/folder' is neither"),
        ("", "'' is neither"),
        ("x" * 5000, "it does not exist"),
    ],
)
def test_unknown_sources(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        open_source(word)
    assert all(name in str(caught.value) for name in BUILT_IN_SOURCES)


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**31),
)
def test_a_split_is_disjoint_complete_stratified_and_repeatable(sizes: list[int], share: float, seed: int) -> None:
    assume(sum(sizes) >= 4 and sum(max(size - 1, 0) for size in sizes) >= 2)
    images = numbered(sizes)
    split = split_by_class(images, share, seed)
    train, held_out = set(split.train.names), set(split.held_out.names)
    assert train.isdisjoint(held_out)
    assert train | held_out == set(images.names)
    assert len(train) + len(held_out) == len(images)
    assert min(len(train), len(held_out)) >= 2
    assert all(left >= 1 for left, size in zip(counts(split.train), sizes, strict=True) if size)
    tight = any(size - 1 < size * share for size in sizes if size)  # one image must stay in a class
    if not tight and 2 <= round(sum(sizes) * share) <= sum(sizes) - 2:
        assert len(held_out) == round(sum(sizes) * share)
        assert all(abs(k - size * share) < 1 for k, size in zip(counts(split.held_out), sizes, strict=True))
    again = split_by_class(images, share, seed)
    assert again.train.names == split.train.names
    assert list(split.train.names) == sorted(split.train.names, key=int)


def test_seeds_differ_and_unlabelled_sets_are_divided() -> None:
    images = numbered(100)
    held_out = [split_by_class(images, 0.2, seed).held_out.names for seed in range(3)]
    assert len(set(held_out)) == 3
    assert [len(names) for names in held_out] == [20, 20, 20]


@pytest.mark.parametrize("sizes", [3, [1, 1, 1, 1, 1], [2, 1, 1, 1], [0, 3]])
def test_sets_too_small_to_divide_are_refused(sizes: list[int] | int) -> None:
    with pytest.raises(UserError, match=r"numbered: \d images.*cannot be divided.*Add images"):
        split_by_class(numbered(sizes), 0.5, 0)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_the_share_must_lie_between_0_and_1(share: float) -> None:
    with pytest.raises(UserError, match=r"--data\.held_out is .*between 0 and 1"):
        load_split("digits", held_out=share)


def test_load_split_of_the_digits() -> None:
    split = load_split("digits", held_out=0.2)
    assert (len(split.train), len(split.held_out)) == (1438, 359)
    few = load_split("digits", held_out=0.2, limit=100)
    assert few.held_out.names == split.held_out.names
    assert set(few.train.names) < set(split.train.names)
    assert counts(few.train) == pytest.approx([10] * 10, abs=1)
    assert load_split("digits", held_out=0.2, split_seed=1).train.names != split.train.names


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6), limits=st.tuples(st.integers(2, 90), st.integers(2, 90))
)
def test_fewer_images_are_nested_and_stratified(sizes: list[int], limits: tuple[int, int]) -> None:
    small, large = sorted(limits)
    assume(small >= len(sizes))
    images = numbered(sizes)
    fewer, more = keep_few(images, small, 0), keep_few(images, large, 0)
    assert len(fewer) == min(small, len(images))
    assert set(fewer.names) <= set(more.names)
    assert min(counts(fewer)) >= 1
    shares = [k / size for k, size in zip(counts(fewer), sizes, strict=True)]
    assert max(shares) - min(shares) <= 1 / min(sizes) + 1e-9


@pytest.mark.parametrize(("sizes", "limit", "least"), [([9, 9, 9], 2, 3), (20, 1, 2), (20, 0, 2), ([9, 9], -5, 2)])
def test_a_limit_below_one_image_per_class_is_refused(sizes: list[int] | int, limit: int, least: int) -> None:
    with pytest.raises(UserError, match=rf"--data\.limit is {limit}; expected at least {least}"):
        keep_few(numbered(sizes), limit, 0)


@settings(max_examples=30, deadline=None)
@given(shares=st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 1.0)))
def test_a_thinned_class_is_nested_and_others_stay_whole(shares: tuple[float, float]) -> None:
    images = numbered([40, 30, 20])
    small, large = (thin_classes(images, {images.class_names[1]: share}, 0) for share in sorted(shares))
    assert set(small.names) <= set(large.names)
    counts = torch.bincount(small.labels, minlength=3).tolist()
    assert counts == [40, max(1, round(min(shares) * 30)), 20]
    kept = set(small.names)
    assert [name for name in images.names if name in kept] == list(small.names)  # in the order of the set


def test_a_rare_class_leaves_the_held_out_images_whole() -> None:
    whole = load_split("digits", held_out=0.2)
    rare = load_split("digits", held_out=0.2, keep={"3": 0.02})
    assert torch.equal(rare.held_out.images, whole.held_out.images)
    before, after = (torch.bincount(split.train.labels, minlength=10) for split in (whole, rare))
    assert after[3] == round(0.02 * int(before[3]))
    assert torch.equal(after[[0, 1, 2, 4, 5, 6, 7, 8, 9]], before[[0, 1, 2, 4, 5, 6, 7, 8, 9]])


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"eleven": 0.5}, r"--data\.keep names the class 'eleven', but digits has 0, 1"),
        ({"3": 0.0}, r"--data\.keep of class '3' is 0\.0; expected a share above 0 and at most 1"),
        ({"3": 1.5}, r"--data\.keep of class '3' is 1\.5"),
    ],
)
def test_a_share_that_makes_no_sense_is_refused(keep: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_split("digits", held_out=0.2, keep=keep)
