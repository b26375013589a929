"""How often images come in an epoch, counted one by one."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data import BatchStream, EpochOrder, ImageSet, class_order

SIZES = st.lists(st.integers(0, 30), min_size=1, max_size=5)


def set_of(sizes: list[int]) -> ImageSet:
    """Classes c0, c1, … of the given sizes, mixed."""
    labels = torch.cat([torch.full((size,), c) for c, size in enumerate(sizes)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    names = tuple(str(i) for i in range(len(labels)))
    class_names = tuple(f"c{c}" for c in range(len(sizes)))
    return ImageSet(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), labels, class_names, names, "counted")


def times_seen(images: ImageSet, epochs: list[torch.Tensor]) -> list[list[int]]:
    """For each class, how often each of its images comes in these epochs."""
    seen = Counter(i for epoch in epochs for i in epoch.tolist())
    assert images.labels is not None
    labels = images.labels.tolist()
    return [[seen[i] for i in range(len(images)) if labels[i] == c] for c in range(images.num_classes)]


@given(count=st.integers(1, 20), seed=st.integers(0, 2**31), number=st.integers(0, 10**9))
@settings(max_examples=50, deadline=None)
def test_without_options_an_epoch_is_a_permutation(count: int, seed: int, number: int) -> None:
    order = class_order(set_of([count]), seed)
    naive = torch.randperm(count, generator=generator(seed, "order", number))
    assert torch.equal(order.epoch(number), naive)


@given(sizes=SIZES, balance=st.floats(0.01, 1), seed=st.integers(0, 2**31), first=st.integers(0, 1000))
@settings(max_examples=150, deadline=None)
def test_every_image_of_a_class_is_seen_equally_often(sizes: list[int], balance: float, seed: int, first: int) -> None:
    assume(sum(sizes))
    images = set_of(sizes)
    order = class_order(images, seed, balance)
    epochs = [order.epoch(number) for number in range(first, first + 3)]
    for seen in ([epochs[0]], [epochs[1]], epochs):  # each epoch, and epochs in a row
        for times in times_seen(images, seen):
            assert not times or max(times) - min(times) <= 1
    per_class = [[sum(times) for times in times_seen(images, [epoch])] for epoch in epochs]
    assert per_class[0] == per_class[1] == per_class[2]
    assert all((places > 0) == (size > 0) for places, size in zip(per_class[0], sizes, strict=True))
    assert order.length == len(epochs[0]) == sum(per_class[0])


@given(sizes=SIZES, seed=st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_full_balance_shows_all_classes_alike(sizes: list[int], seed: int) -> None:
    assume(sum(sizes))
    images = set_of(sizes)
    order = class_order(images, seed, balance=1)
    places = {sum(times) for times, size in zip(times_seen(images, [order.epoch(5)]), sizes, strict=True) if size}
    assert len(places) == 1
    assert abs(order.length - len(images)) <= len(sizes) / 2


@pytest.mark.parametrize(
    ("balance", "defects"),
    [(0.5, 2000 / (1 + (1980 / 20) ** 0.5)), (1.0, 1000.0), (0.01, 2000 / (1 + (1980 / 20) ** 0.99))],
)
def test_few_defects_among_many_images(balance: float, defects: float) -> None:
    images = set_of([1980, 20])
    good, defective = times_seen(images, [class_order(images, 0, balance).epoch(0)])
    assert abs(sum(defective) - defects) <= 0.5
    assert abs(sum(good) - (2000 - defects)) <= 0.5


@pytest.mark.parametrize("repeat", [{"c1": 3.0}, {"c1": 2.5, "c0": 0.5}, {"c0": 0.01}])
def test_named_classes_are_repeated(repeat: dict[str, float]) -> None:
    images = set_of([30, 8, 5])
    epochs = [class_order(images, 3, repeat=repeat).epoch(number) for number in range(30)]
    for name, size, times in zip(images.class_names, (30, 8, 5), times_seen(images, epochs), strict=True):
        wanted = max(1, round(size * repeat.get(name, 1.0)))  # places in an epoch
        assert sum(times) == 30 * wanted
        assert max(times) - min(times) <= 1
    (third,) = [
        times for name, times in zip(images.class_names, times_seen(images, epochs[:1]), strict=True) if name == "c2"
    ]
    assert third == [1] * 5


def test_far_epochs_are_made_alone_and_differ() -> None:
    images = set_of([40, 10])
    orders = [class_order(images, seed, 0.7) for seed in (0, 0, 1)]
    far = [order.epoch(10**15) for order in orders]
    for number in range(3):
        orders[1].epoch(number)
    assert torch.equal(far[0], orders[1].epoch(10**15))
    assert not torch.equal(far[0], far[2])
    assert not torch.equal(far[0], orders[0].epoch(10**15 + 1))


def test_batches_follow_the_order() -> None:
    images = set_of([12, 3])
    order = class_order(images, 1, balance=1)
    stream = BatchStream(images, 5, seed=1, order=order)
    seen = torch.cat([stream.batch(step).index for step in range(3 * int(order.length) // 5 + 1)])
    expected = torch.cat([order.epoch(number) for number in range(4)])
    assert torch.equal(seen, expected[: len(seen)])


@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    parts=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 9)), min_size=4, max_size=4),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_quotas_may_be_fractions(sizes: list[int], parts: list[tuple[int, int]], seed: int) -> None:
    """Against a loop that keeps accounts: what a kind has earned so far, rounded down, it has had."""
    kinds = list(torch.arange(sum(sizes)).split(sizes))
    quotas = [Fraction(*part) for part in parts[: len(sizes)]]
    order = EpochOrder(kinds, quotas, seed)
    laid, counts, earned = [], Counter(), [Fraction(0)] * len(sizes)
    for number in range(12):
        assert order.start(number) == len(laid)
        epoch = order.epoch(number)
        laid += epoch.tolist()
        counts.update(epoch.tolist())
        for k, kind in enumerate(kinds):
            earned[k] += quotas[k]
            times = [counts[int(i)] for i in kind]
            assert sum(times) == int(earned[k])
            assert max(times) - min(times) <= 1
    for first in range(0, len(laid), 7):
        assert order.between(first, min(first + 10, len(laid))).tolist() == laid[first : first + 10]
        number, place = order.find(first)
        assert laid[first] == int(order.epoch(number)[place])


@given(sizes=SIZES, balance=st.floats(0, 1), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_some_of_the_images_come_as_often_as_among_all(sizes: list[int], balance: float, seed: int) -> None:
    assume(sum(sizes))
    images = set_of(sizes)
    chosen = torch.rand(len(images), generator=torch.Generator().manual_seed(seed)) < 0.5
    assume(bool(chosen.any()))
    whole = class_order(images, seed, balance)
    epochs = 60
    all_of_them, some = (
        Counter(torch.cat([order.epoch(number) for number in range(epochs)]).tolist())
        for order in (whole, whole.only(chosen))
    )
    assert set(some) <= set(chosen.nonzero().flatten().tolist())
    for i in chosen.nonzero().flatten().tolist():
        assert abs(some[i] - all_of_them[i]) <= 2  # each rounded by itself
    assert (
        whole.only(torch.ones(len(images), dtype=torch.bool)).between(3, 90).tolist() == whole.between(3, 90).tolist()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"balance": 0.5, "repeat": {"c0": 2.0}}, r"--data\.balance and --data\.repeat both"),
        ({"balance": 1.5}, r"--data\.balance is 1\.5; expected a number from 0"),
        ({"balance": float("nan")}, r"--data\.balance is nan"),
        ({"repeat": {"cat": 2.0}}, r"--data\.repeat names the class 'cat', but counted has c0, c1"),
        ({"repeat": {"c0": 0.0}}, r"--data\.repeat of class 'c0' is 0\.0; expected a number above 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        class_order(set_of([3, 4]), 0, **options)


@pytest.mark.parametrize(("option", "value"), [("balance", 0.5), ("repeat", {"c0": 2.0})])
def test_images_without_labels_are_refused(option: str, value: object) -> None:
    images = ImageSet(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), None, (), ("0", "1", "2"), "bare")
    with pytest.raises(UserError, match=rf"--data\.{option} is about classes, but bare has no labels"):
        class_order(images, 0, **{option: value})
