"""Aspect buckets: their shapes, who belongs where, and a stream of batches that can be entered anywhere."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sadm.core.errors import UserError
from sadm.data import BucketedStream, Fit, ImageSet, open_buckets, open_source
from sadm.data.buckets import bucket_shapes, nearest_shape


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


def test_each_image_is_covered_and_cropped_to_its_bucket(tmp_path: Path) -> None:
    sizes = {"tall": (30, 60), "square": (50, 52), "wide": (90, 61), "very wide": (200, 20)}
    for class_name in ("a", "b"):
        (tmp_path / class_name).mkdir()
    for i, (name, size) in enumerate(sizes.items()):
        pixels = np.random.default_rng(i).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "ab"[i % 2] / f"{name}.png")
    (tmp_path / "a" / "bad.png").write_bytes(b"")
    fit = Fit(32, policy="buckets")
    buckets = open_buckets(str(tmp_path), fit)
    shapes = bucket_shapes(32, 8)
    found = {name: bucket.shape for bucket in buckets for name in bucket.names}
    for name, size in sizes.items():
        expected = nearest_shape(size, shapes)
        assert found[next(key for key in found if key[2:] == f"{name}.png")] == (1, *expected[::-1])
    assert all(bucket.class_names == ("a", "b") for bucket in buckets)
    assert [len(bucket.skipped) for bucket in buckets] == [1, *[0] * (len(buckets) - 1)]
    (tall,) = (bucket for bucket in buckets if "a/tall.png" in bucket.names)
    with Image.open(tmp_path / "a" / "tall.png") as image:
        whole = np.asarray(image.resize((24, 48), Image.Resampling.HAMMING))  # 30 x 60 has the ratio of 24 x 48
    assert np.array_equal(tall.images[0, 0].numpy(), whole)


def bucket(count: int, height: int, width: int, start: int) -> ImageSet:
    pixels = torch.arange(start, start + count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, height, width)
    names = tuple(f"{start + i}.png" for i in range(count))
    labels = torch.arange(count) % 2
    return ImageSet(pixels, labels, ("a", "b"), names, "here")


BUCKETS = [bucket(7, 6, 4, 0), bucket(1, 4, 4, 7), bucket(12, 4, 6, 8)]


def test_batches_have_one_shape_and_count_images_through_all_buckets() -> None:
    stream = BucketedStream(BUCKETS, 4, seed=3)
    pixels = torch.arange(20)
    for step in range(60):
        batch = stream.batch(step)
        assert len(batch.x0) == 4
        values = ((batch.x0[:, 0, 0, 0] + 1) * 127.5).round().long()
        assert torch.equal(values, pixels[batch.index])
        assert batch.cond.label is not None


def test_each_image_comes_equally_often() -> None:
    stream = BucketedStream(BUCKETS, 4, seed=0)
    counts = torch.zeros(20, dtype=torch.int64)
    for step in range(4 * 20):  # 4 cycles
        counts += torch.bincount(stream.batch(step).index, minlength=20)
    assert counts.tolist() == [16] * 20  # 4 cycles of 20 steps of 4 images


def test_the_stream_can_be_entered_anywhere() -> None:
    through = [BucketedStream(BUCKETS, 3, seed=1, flip=True).batch(step) for step in range(45)]
    one = BucketedStream(BUCKETS, 3, seed=1, flip=True)
    for step in (44, 0, 20, 19, 41):
        batch = one.batch(step)
        assert torch.equal(batch.x0, through[step].x0)
        assert torch.equal(batch.index, through[step].index)
    other = BucketedStream(BUCKETS, 3, seed=2)
    assert any(other.batch(step).index.tolist() != through[step].index.tolist() for step in range(5))


def test_what_has_no_buckets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no buckets to draw batches from"):
        BucketedStream([], 4, seed=0)
    with pytest.raises(UserError, match="batch of step -1 was asked for"):
        BucketedStream(BUCKETS, 4, seed=0).batch(-1)
    with pytest.raises(UserError, match="needs a Fit of policy 'buckets', got 'crop'"):
        open_buckets(str(tmp_path), Fit(8))
    for source in ("digits", "surfaces"):
        with pytest.raises(UserError, match=f"{source} holds images of one shape"):
            open_buckets(source, Fit(8, policy="buckets"))
    for i in range(2):
        Image.new("L", (9, 9)).save(tmp_path / f"{i}.png")
    with pytest.raises(UserError, match="several shapes, and one is needed here.*open_buckets and BucketedStream"):
        open_source(str(tmp_path), fit=Fit(8, policy="buckets"))
