"""The stream of batches against a naive one, and the properties that resuming relies on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data import Augmentation, Augmenter, BatchStream, ImageSet, class_order

SIZES = {"count": st.integers(1, 13), "batch_size": st.integers(1, 30), "seed": st.integers(0, 2**31)}


def image_set(count: int, labelled: bool = True) -> ImageSet:
    pixels = torch.randint(0, 256, (count, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return ImageSet(
        images=pixels,
        labels=torch.arange(count) % 2 if labelled else None,
        class_names=("a", "b") if labelled else (),
        names=tuple(str(i) for i in range(count)),
        source="stream",
    )


def naive_positions(count: int, seed: int) -> Iterator[int]:
    for epoch in itertools.count():
        yield from torch.randperm(count, generator=generator(seed, "order", epoch)).tolist()


@settings(max_examples=100, deadline=None)
@given(**SIZES)
def test_it_equals_a_naive_stream(count: int, batch_size: int, seed: int) -> None:
    stream, naive = BatchStream(image_set(count), batch_size, seed), naive_positions(count, seed)
    for step in range(5):
        assert stream.batch(step).index.tolist() == list(itertools.islice(naive, batch_size))


@settings(max_examples=50, deadline=None)
@given(**SIZES)
def test_each_image_comes_once_per_epoch(count: int, batch_size: int, seed: int) -> None:
    stream = BatchStream(image_set(count), batch_size, seed)
    steps = -(-3 * count // batch_size)
    index = torch.cat([stream.batch(step).index for step in range(steps)])
    for epoch in range(3):
        assert index[epoch * count : (epoch + 1) * count].sort().values.tolist() == list(range(count))


@settings(max_examples=50, deadline=None)
@given(**SIZES, order=st.permutations(range(6)), flip=st.booleans())
def test_a_batch_does_not_depend_on_the_calls_before_it(
    count: int, batch_size: int, seed: int, order: list[int], flip: bool
) -> None:
    images = image_set(count)
    shared = BatchStream(images, batch_size, seed, flip)
    for step in order:
        batch, fresh = shared.batch(step), BatchStream(images, batch_size, seed, flip).batch(step)
        assert torch.equal(batch.index, fresh.index)
        assert torch.equal(batch.x0, fresh.x0)


def test_what_a_batch_holds() -> None:
    images = image_set(7)
    batch = BatchStream(images, 4, seed=3).batch(2)
    assert batch.x0.shape == (4, 3, 4, 5)
    assert batch.x0.dtype == torch.float32
    assert torch.equal(batch.x0, images.floats(batch.index))
    assert images.labels is not None
    assert batch.cond.label is not None
    assert torch.equal(batch.cond.label, images.labels[batch.index])
    assert BatchStream(image_set(7, labelled=False), 4, seed=3).batch(2).cond.label is None


def test_flips_mirror_about_half_of_the_images_and_nothing_else() -> None:
    images = image_set(50)
    plain, flipped = BatchStream(images, 50, seed=0), BatchStream(images, 50, seed=0, flip=True)
    mirrored, coins = 0, []
    for step in range(20):
        x0, seen = plain.batch(step).x0, flipped.batch(step).x0
        same = (seen == x0).flatten(1).all(dim=1)
        turned = (seen == x0.flip(-1)).flatten(1).all(dim=1)
        assert (same ^ turned).all()
        mirrored += int(turned.sum())
        coins.append(tuple(turned.tolist()))
    assert 420 < mirrored < 580  # 5 standard deviations around 500
    assert len(set(coins)) == 20


def test_an_augmenter_gets_the_rows_of_the_step_and_its_columns_become_conditions() -> None:
    images, augmenter = image_set(7), Augmenter(Augmentation(0.5, flip_x=1.0, rotation=90, hue=90), 3)
    plain, stream = BatchStream(images, 5, seed=2), BatchStream(images, 5, seed=2, augmenter=augmenter)
    assert (plain.changes_pixels, stream.changes_pixels) == (False, True)
    assert BatchStream(images, 5, seed=2, flip=True).changes_pixels
    for step in (3, 0, 3):
        batch, before = stream.batch(step), plain.batch(step)
        assert torch.equal(batch.index, before.index)
        assert before.cond.augment is None
        x0, augment = augmenter(before.x0, Augmenter.draws(2, step, 5))
        assert batch.cond.augment is not None
        assert torch.equal(batch.x0, x0)
        assert torch.equal(batch.cond.augment, augment)
        assert bool(augment.any())


def test_seeds_and_epochs_differ() -> None:
    images = image_set(40)
    orders = {tuple(BatchStream(images, 40, seed).batch(step).index.tolist()) for seed in (0, 1) for step in (0, 1)}
    assert len(orders) == 4


def test_far_steps_cost_nothing_more() -> None:
    stream = BatchStream(image_set(10), 4, seed=0)
    assert len(stream.batch(10**12).index) == 4


@settings(max_examples=100, deadline=None)
@given(
    **SIZES, world=st.integers(1, 4), step=st.integers(0, 20), flip=st.booleans(), balance=st.sampled_from([0.0, 1.0])
)
def test_processes_together_see_what_one_sees(
    count: int, batch_size: int, seed: int, world: int, step: int, flip: bool, balance: float
) -> None:
    assume(batch_size >= world)
    images = image_set(count)
    order = class_order(images, seed, balance)
    whole = BatchStream(images, batch_size, seed, flip, order).batch(step)
    shares = [BatchStream(images, batch_size, seed, flip, order, rank, world).batch(step) for rank in range(world)]
    assert torch.equal(torch.cat([share.index for share in shares]), whole.index)
    assert torch.equal(torch.cat([share.x0 for share in shares]), whole.x0)
    labels = [share.cond.label for share in shares if share.cond.label is not None]
    assert whole.cond.label is not None
    assert torch.equal(torch.cat(labels), whole.cond.label)
    sizes = [len(share.x0) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_threads_that_share_a_stream_get_what_one_would() -> None:
    images = image_set(13)
    stream, alone = BatchStream(images, 5, seed=0, flip=True), BatchStream(images, 5, seed=0, flip=True)
    steps = [step for start in range(0, 200, 4) for step in (start + 2, start, start + 3, start + 1)]  # back and forth
    with ThreadPoolExecutor(4) as pool:
        for step, batch in zip(steps, pool.map(stream.batch, steps), strict=True):
            assert torch.equal(batch.x0, alone.batch(step).x0)


def test_bad_requests_are_refused() -> None:
    images = image_set(3)
    with pytest.raises(UserError, match="batch size is 0; expected at least 1"):
        BatchStream(images, 0, seed=0)
    with pytest.raises(UserError, match="stream has no images"):
        BatchStream(images.subset(torch.empty(0, dtype=torch.int64)), 2, seed=0)
    with pytest.raises(UserError, match="step -1"):
        BatchStream(images, 2, seed=0).batch(-1)
    with pytest.raises(UserError, match="batch size is 2 for 3 processes; expected at least one image for each"):
        BatchStream(images, 2, seed=0, rank=0, world=3)
    for rank, world in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(UserError, match=f"rank {rank} of {world} processes"):
            BatchStream(images, 4, seed=0, rank=rank, world=world)
