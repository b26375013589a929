"""Aspect buckets: their shapes, who belongs where, and a stream of batches that can be entered anywhere."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sadm.core.errors import UserError
from sadm.core.seeds import derive_seed, generator
from sadm.data import (
    Augmentation,
    Augmenter,
    Batch,
    BatchStream,
    BucketedStream,
    Fit,
    ImageSet,
    Prefetcher,
    class_order,
    load_split,
    open_source,
)
from sadm.data.buckets import bucket_shapes, nearest_shape
from sadm.data.export import export, pick
from sadm.data.preparation.preparing import prepare
from sadm.data.ragged import Ragged
from sadm.data.resampling import resize_array


@given(st.integers(2, 40), st.integers(1, 16))
@settings(max_examples=60, deadline=None)
def test_shapes_are_multiples_of_about_the_same_area(times: int, multiple: int) -> None:
    resolution = times * multiple
    shapes = bucket_shapes(resolution, multiple)
    assert (resolution, resolution) in shapes
    assert set(shapes) == {shape[::-1] for shape in shapes}
    for width, height in shapes:
        assert width % multiple == height % multiple == 0
        assert max(width, height) <= 2 * min(width, height)
        assert abs(width * height - resolution**2) <= max(width, height) * multiple / 2
    aspects = [width / height for width, height in shapes]
    assert aspects == sorted(aspects)


@given(st.integers(1, 500), st.integers(1, 500))
@settings(max_examples=100, deadline=None)
def test_an_image_goes_to_the_nearest_shape(width: int, height: int) -> None:
    shapes = bucket_shapes(64, 8)
    chosen = nearest_shape((width, height), shapes)
    ratios = {shape: abs(math.log(shape[0] / shape[1] * height / width)) for shape in shapes}
    assert ratios[chosen] == pytest.approx(min(ratios.values()))


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(UserError, match=r"--data\.resolution is 60; .*multiple of --data\.bucket-multiple \(8\)"):
        bucket_shapes(60, 8)
    with pytest.raises(UserError, match="largest aspect ratio of buckets is 0.5; expected at least 1"):
        bucket_shapes(64, 8, 0.5)


# ---- reading ---------------------------------------------------------------------------------------------------------

SIZES = {"tall": (30, 60), "square": (50, 50), "wide": (90, 61), "very wide": (200, 20)}
FIT = Fit(32, policy="buckets")


def folder_of(folder: Path, mode: str = "L") -> Path:
    """An image of each of `SIZES`, in two classes, and one that can't be read."""
    for class_name in ("a", "b"):
        (folder / class_name).mkdir(parents=True)
    for i, (name, size) in enumerate(SIZES.items()):
        pixels = np.random.default_rng(i).integers(0, 256, (size[1], size[0], len(mode)), dtype=np.uint8)
        Image.fromarray(pixels.squeeze()).save(folder / "ab"[i % 2] / f"{name}.png")
    (folder / "a" / "bad.png").write_bytes(b"")
    return folder


def opened(source: Path | str, fit: Fit = FIT) -> ImageSet:
    images = open_source(str(source), fit=fit)
    assert isinstance(images, ImageSet)
    assert images.shaped is not None
    return images


def own(images: ImageSet) -> Ragged:
    assert images.shaped is not None
    return images.shaped


def test_each_image_is_covered_cropped_to_its_bucket_and_resized_to_the_square(tmp_path: Path) -> None:
    images = opened(folder_of(tmp_path))
    assert images.shape == (1, 32, 32)
    assert images.class_names == ("a", "b")
    assert [skip.path for skip in images.skipped] == ["a/bad.png"]
    shapes = bucket_shapes(32, 8)
    for i, name in enumerate(images.names):
        shape = nearest_shape(SIZES[name[2:-4]], shapes)
        assert own(images)[i].shape == (1, *shape[::-1])
        assert torch.equal(images.images[i], resize_array(own(images)[i][None], (32, 32))[0])
    for name, shape in (("a/tall", (24, 48)), ("b/square", (32, 32))):  # 30 x 60 has the ratio of 24 x 48
        i = images.names.index(f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as image:
            assert np.array_equal(own(images)[i][0].numpy(), np.asarray(image.resize(shape, Image.Resampling.HAMMING)))
        assert torch.equal(images.images[i], own(images)[i]) == (shape == (32, 32))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colour_and_transparency_are_kept(tmp_path: Path, mode: str) -> None:
    images = opened(folder_of(tmp_path, mode), Fit(32, len(mode), policy="buckets"))
    assert images.shape == (len(mode), 32, 32)
    assert torch.equal(own(images).resized((32, 32)), images.images)
    assert {own(images)[i].shape[0] for i in range(4)} == {len(mode)}


def test_splits_and_subsets_keep_own_shapes_and_fingerprints_see_them(tmp_path: Path) -> None:
    images = opened(folder_of(tmp_path))
    split = load_split(str(tmp_path), held_out=0.5, fit=FIT)
    for part in (split.train, split.held_out):
        for i, name in enumerate(part.names):
            assert torch.equal(own(part)[i], own(images)[images.names.index(name)])
        index = torch.arange(len(part))
        floats = torch.cat([own(part)[int(i)].reshape(-1) for i in index]).double() / 127.5 - 1
        assert part.std() == pytest.approx(float(floats.std()), rel=1e-5)
    before = images.fingerprint()
    tall = images.names.index("a/tall.png")
    assert images.subset(torch.arange(4)).fingerprint() == before
    assert opened(tmp_path, Fit(32, policy="buckets", bucket_multiple=16)).fingerprint() != before
    own(images)[tall][0, 0, 0] ^= 1
    assert images.fingerprint() != before
    with pytest.raises(UserError, match="images in their own shapes have 1 channels, the others 3"):
        dataclasses.replace(images, images=images.images.expand(-1, 3, -1, -1))


def test_masks_lie_on_the_square(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    names = []
    for i, (width, height) in enumerate([(60, 30), (40, 40)]):
        marks = np.zeros((height, width), dtype=np.uint8)
        marks[:, : width // 2] = 255
        for folder in (tmp_path, tmp_path / "masks"):
            Image.fromarray(marks).save(folder / f"{i}.png")
        names.append(f"{i}.png,masks/{i}.png")
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,mask", *names]))
    images = opened(tmp_path)
    assert images.masks is not None
    assert [own(images)[i].shape for i in range(2)] == [(1, 24, 48), (1, 32, 32)]
    expected = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    expected[..., :16] = 255
    assert torch.equal(images.masks, expected)
    export(pick(images, None), tmp_path / "out")
    again = opened(tmp_path / "out")
    assert again.fingerprint() == images.fingerprint()
    assert again.masks is not None
    assert torch.equal(again.masks, expected)


def test_exported_and_prepared_images_are_read_in_buckets(tmp_path: Path) -> None:
    images = opened(folder_of(tmp_path / "photos"))
    export(pick(images, None), tmp_path / "exported")
    assert opened(tmp_path / "exported").fingerprint() == images.fingerprint()
    prepare(str(tmp_path / "photos"), tmp_path / "prepared")
    prepared = opened(tmp_path / "prepared")
    assert sorted(prepared.names) == sorted(images.names)
    for i, name in enumerate(prepared.names):
        assert torch.equal(own(prepared)[i], own(images)[images.names.index(name)])


@pytest.mark.parametrize("source", ["digits", "surfaces:count=2"])
def test_images_that_are_no_files_are_of_one_shape(source: str) -> None:
    with pytest.raises(UserError, match=r"--data\.fit buckets is for image files; .*Use --data\.fit crop or pad"):
        open_source(source, fit=FIT)


# ---- the stream ------------------------------------------------------------------------------------------------------

COUNTS = {(6, 4): 7, (4, 4): 1, (4, 6): 12}


def bucketed(counts: dict[tuple[int, int], int] = COUNTS, labels: torch.Tensor | None = None) -> ImageSet:
    """Images of one grey each, its position, of these (height, width), mixed; class a or b."""
    sizes = [size for size, count in counts.items() for _ in range(count)]
    order = torch.randperm(len(sizes), generator=torch.Generator().manual_seed(5)).tolist()
    images = [torch.full((1, *sizes[k]), place, dtype=torch.uint8) for place, k in enumerate(order)]
    shaped = Ragged.of(images)
    labels = torch.arange(len(images)) % 2 if labels is None else labels
    names = tuple(f"{i}.png" for i in range(len(images)))
    return ImageSet(shaped.resized((4, 4)), labels, ("a", "b"), names, "here", shaped=shaped)


def greys(batch: Batch) -> torch.Tensor:
    values = ((batch.x0 + 1) * 127.5).round().long()
    assert bool((values == values[:, :1, :1, :1]).all())
    return values[:, 0, 0, 0]


def test_a_batch_has_one_shape_and_the_images_and_labels_of_its_index() -> None:
    images = bucketed()
    stream = BucketedStream(images, 4, seed=3, flip=True)
    assert stream.shapes == ((6, 4), (4, 4), (4, 6))
    seen = set()
    for step in range(60):
        batch = stream.batch(step)
        assert len(batch.x0) == 4
        assert torch.equal(greys(batch), batch.index)
        for i in batch.index.tolist():
            assert batch.x0.shape[1:] == own(images)[i].shape
        assert batch.cond.label is not None
        assert images.labels is not None
        assert torch.equal(batch.cond.label, images.labels[batch.index])
        seen.add(tuple(batch.x0.shape[2:]))
    assert seen == set(COUNTS)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 50])
def test_each_image_comes_equally_often(batch_size: int) -> None:
    """After as many images as there are times a batch: bucket by bucket whole turns, so exactly equal."""
    stream = BucketedStream(bucketed(), batch_size, seed=0)
    seen = [stream.batch(step).index for step in range(20)]  # batch_size epochs of 20 images
    assert torch.cat(seen).bincount(minlength=20).tolist() == [batch_size] * 20
    more = torch.cat([*seen, *(stream.batch(step).index for step in range(20, 60))])
    assert more.bincount(minlength=20).tolist() == [3 * batch_size] * 20


def test_each_image_keeps_step_with_the_epochs() -> None:
    """Never further from its share than a turn of its bucket and what a turn brings it."""
    stream = BucketedStream(bucketed(), 4, seed=0)
    counts = torch.zeros(20)
    bucket = {size: number for number, size in enumerate(stream.shapes)}
    turns = torch.zeros(3)
    for step in range(500):
        batch = stream.batch(step)
        turns[bucket[tuple(batch.x0.shape[2:])]] += 1
        counts += batch.index.bincount(minlength=20)
        epochs = 4 * (step + 1) / 20
        of_each = torch.tensor([7.0, 1.0, 12.0])
        assert bool(((turns - epochs * of_each / 4).abs() <= 1 + of_each / 4).all())
    assert bool((counts - 100).abs().max() <= 4)


@pytest.mark.parametrize(
    "options", [{"balance": 1.0}, {"balance": 0.5}, {"repeat": {"b": 3.0}}, {"repeat": {"a": 0.3}}]
)
def test_classes_come_as_often_as_the_order_says(options: dict[str, Any]) -> None:
    labels = torch.tensor([0] * 15 + [1] * 5)
    images = bucketed(labels=labels)
    order = class_order(images, 2, **options)
    epochs = 900
    expected = torch.cat([order.epoch(number) for number in range(epochs)]).bincount(minlength=20)
    stream = BucketedStream(images, 4, 2, order=order)
    steps = int(epochs * order.length) // 4
    seen = torch.cat([stream.batch(step).index for step in range(steps)]).bincount(minlength=20)
    # What is left open: a turn of each bucket, in which the only image of one comes four times, and a place within a kind.
    assert int((seen - expected).abs().max()) <= 5
    assert int(expected.max() - expected.min()) > 100


def test_several_processes_see_what_one_sees() -> None:
    augmenter = Augmenter(Augmentation(0.5, flip_y=0.5, shift=0.3, contrast=0.2), 1)
    for world in (2, 3):
        options = {"flip": True, "augmenter": augmenter}
        parts = [BucketedStream(bucketed(), 7, 1, rank=rank, world=world, **options) for rank in range(world)]
        one = BucketedStream(bucketed(), 7, 1, **options)
        for step in (0, 1, 2, 19, 20, 333):
            batch, shares = one.batch(step), [part.batch(step) for part in parts]
            assert torch.equal(torch.cat([share.x0 for share in shares]), batch.x0)
            assert torch.equal(torch.cat([share.index for share in shares]), batch.index)
            for name in ("label", "augment"):
                assert torch.equal(
                    torch.cat([getattr(share.cond, name) for share in shares]), getattr(batch.cond, name)
                )


def test_the_stream_can_be_entered_anywhere() -> None:
    through = [BucketedStream(bucketed(), 3, seed=1, flip=True).batch(step) for step in range(45)]
    one = BucketedStream(bucketed(), 3, seed=1, flip=True)
    for step in (44, 0, 20, 19, 41):
        batch = one.batch(step)
        assert torch.equal(batch.x0, through[step].x0)
        assert torch.equal(batch.index, through[step].index)
    other = BucketedStream(bucketed(), 3, seed=2)
    assert any(other.batch(step).index.tolist() != through[step].index.tolist() for step in range(5))
    far = one.batch(10**12)
    assert torch.equal(far.x0, BucketedStream(bucketed(), 3, seed=1, flip=True).batch(10**12).x0)
    with Prefetcher(BucketedStream(bucketed(), 3, seed=1, flip=True).batch, workers=3) as ahead:
        assert all(torch.equal(ahead.get(step).x0, through[step].x0) for step in range(45))


def test_turns_are_those_of_a_naive_loop() -> None:
    """Epoch by epoch: each bucket gets the turns that its images have earned so far, in an order drawn for the epoch."""
    images, size, seed = bucketed(), 4, 9
    stream = BucketedStream(images, size, seed)
    earned, taken, queues, step = [0, 0, 0], [0, 0, 0], [[], [], []], 0
    counts, passes = [7, 1, 12], [0, 0, 0]
    bucket_of = [stream.shapes.index(tuple(own(images)[i].shape[1:])) for i in range(20)]
    for epoch in range(30):
        due = []
        for k in range(3):
            earned[k] += counts[k]
            while (taken[k] + 1) * size <= earned[k]:
                due.append(k)
                taken[k] += 1
        draws = generator(derive_seed(seed, "buckets"), "order", epoch)
        for turn in torch.randperm(len(due), generator=draws).tolist() if due else []:
            k = due[turn]
            while len(queues[k]) < size:
                members = [i for i in range(20) if bucket_of[i] == k]
                shuffle = torch.randperm(len(members), generator=generator(seed, "order", passes[k]))
                queues[k] += [members[i] for i in shuffle.tolist()]
                passes[k] += 1
            assert stream.batch(step).index.tolist() == queues[k][:size]
            queues[k] = queues[k][size:]
            step += 1
    assert step > 100


@pytest.mark.parametrize("balance", [0.0, 0.7])
def test_one_bucket_gives_the_batches_of_a_plain_stream(balance: float) -> None:
    images = bucketed({(4, 4): 11})
    plain = dataclasses.replace(images, shaped=None)
    streams = [
        kind(each, 4, 3, flip=True, order=class_order(each, 3, balance))
        for kind, each in ((BucketedStream, images), (BatchStream, plain))
    ]
    assert images.std() == plain.std()
    for step in (0, 1, 2, 3, 50, 10**9):
        first, second = (stream.batch(step) for stream in streams)
        assert torch.equal(first.x0, second.x0)
        assert torch.equal(first.index, second.index)


def test_what_has_no_buckets_is_refused() -> None:
    with pytest.raises(UserError, match="here was not read in buckets; expected images of several shapes"):
        BucketedStream(dataclasses.replace(bucketed(), shaped=None), 4, seed=0)
    with pytest.raises(UserError, match="batch of step -1 was asked for"):
        BucketedStream(bucketed(), 4, seed=0).batch(-1)
    assert not BucketedStream(bucketed(), 4, seed=0).changes_pixels
