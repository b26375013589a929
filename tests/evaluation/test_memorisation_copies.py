from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.audit.planting import KINDS, copies
from sadm.data import load_split
from sadm.data.preparation.duplicates import ORIENTATIONS
from sadm.data.preparation.duplicates import turn as turn_array
from sadm.evaluation.memorisation.copies import CopySearch, difference, turn
from sadm.evaluation.memorisation.registration import correlations, overlap, register, shifts_within, unexplained


def smooth(count: int, channels: int = 1, side: int = 8, seed: int = 0) -> torch.Tensor:
    """Random images [count, channels, side, side] in [-1, 1]."""
    draws = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, side // 2, side // 2, generator=draws) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=side, mode="bilinear")


def naive_unexplained(first: np.ndarray, second: np.ndarray) -> float:
    """Least squares, channel by channel, with a gain that is not negative."""
    rest = total = 0.0
    for a, b in zip(first.reshape(len(first), -1), second.reshape(len(second), -1), strict=True):
        gain, offset = np.polyfit(b, a, 1)
        if gain < 0:
            gain, offset = 0.0, a.mean()
        rest += ((a - gain * b - offset) ** 2).sum()
        total += ((a - a.mean()) ** 2).sum()
    return float(np.sqrt(rest / total))


def naive_window(image: np.ndarray, other: np.ndarray, down: int, right: int) -> tuple[np.ndarray, np.ndarray]:
    height, width = image.shape[-2:]
    places = [(y, x) for y in range(height) for x in range(width) if 0 <= y - down < height and 0 <= x - right < width]
    ours = np.stack([image[:, y, x] for y, x in places], axis=1)
    theirs = np.stack([other[:, y - down, x - right] for y, x in places], axis=1)
    return ours, theirs


def test_unexplained_is_the_residual_of_a_fit_by_least_squares():
    first, second = smooth(6, 3, seed=1), smooth(6, 3, seed=2)
    expected = [naive_unexplained(a.numpy(), b.numpy()) for a, b in zip(first, second, strict=True)]
    assert unexplained(first, second).numpy() == pytest.approx(np.array(expected), abs=1e-4)


def test_unexplained_ignores_brightness_contrast_and_tint_but_no_negative():
    images = smooth(5, 3)
    tint = torch.tensor([0.5, 0.8, 1.2])[:, None, None]
    assert float(unexplained(images * tint + 0.1, images).max()) < 1e-3
    assert unexplained(-images, images).numpy() == pytest.approx(np.ones(5))


def test_a_flat_image_is_no_copy_of_anything():
    flat = torch.full((1, 1, 8, 8), 0.3)
    assert float(unexplained(flat, flat)) == 1
    assert float(unexplained(smooth(1), flat)) == 1


@pytest.mark.parametrize("shift", [(0, 0), (2, -1), (-1, 3)])
def test_overlap_pairs_the_pixels_that_meet(shift):
    first, second = smooth(2, 2, seed=1), smooth(2, 2, seed=2)
    ours, theirs = overlap(first, second, *shift)
    for i in range(2):
        a, b = naive_window(first[i].numpy(), second[i].numpy(), *shift)
        assert np.array_equal(ours[i].flatten(1).numpy(), a)
        assert np.array_equal(theirs[i].flatten(1).numpy(), b)


def test_correlations_are_those_of_the_windows():
    first, second = smooth(3, seed=1)[:, 0], smooth(3, seed=2)[:, 0]
    shifts = torch.tensor([(0, 0), (1, -2), (-2, 2), (2, 1)])
    a, b = (images - images.mean((1, 2), keepdim=True) for images in (first, second))
    expected = torch.empty(3, 4)
    for s, (down, right) in enumerate(shifts.tolist()):
        ours, theirs = overlap(a, b, down, right)
        expected[:, s] = (ours * theirs).sum((1, 2)) / (ours.square().sum((1, 2)) * theirs.square().sum((1, 2))).sqrt()
    assert correlations(first, second, shifts).numpy() == pytest.approx(expected.numpy(), abs=1e-4)


def test_register_finds_the_shift_that_an_image_was_moved_by():
    image = smooth(1, side=40)
    moved = torch.roll(image, (3, -2), (2, 3))  # all but the border
    shift, distance = register(moved, image)
    assert shift.tolist() == [[3, -2]]
    assert float(distance) < 1e-3


def test_turning_is_that_of_the_preparation():
    images = smooth(2)[:, 0]
    for orientation in range(len(ORIENTATIONS)):
        assert np.array_equal(turn(images, orientation).numpy(), turn_array(images.numpy(), orientation))


@pytest.mark.parametrize("side", [8, 20])
def test_search_is_a_search_of_all_pairs_orientations_and_shifts(side):
    images, queries = smooth(9, side=side, seed=1), smooth(5, side=side, seed=2)
    queries[0] = torch.roll(images[4].flip(-1), 1, 1) * 0.8  # a copy
    found = CopySearch(images).nearest(queries)
    for row, query in enumerate(queries):
        best = min(
            float(unexplained(*overlap(turn(query, o)[None], image[None], *shift)))
            for o in range(8)
            for image in images
            for shift in shifts_within(side, side)
        )
        own = turn(query, int(found.orientation[row]))[None]
        told = unexplained(*overlap(own, images[found.index[row]][None], *found.shift[row].tolist()))
        assert float(found.distance[row]) == pytest.approx(float(told), abs=1e-5)
        assert float(found.distance[row]) >= best - 1e-5
        assert float(found.distance[row]) <= 1.1 * best + 1e-3  # four candidates and four shifts are looked at closely
    assert int(found.index[0]) == 4
    assert float(found.distance[0]) < 1e-3


def test_search_leaves_out_the_query_itself_and_does_not_depend_on_the_chunk(monkeypatch):
    images = smooth(12)
    images[7] = images[2] * 0.9
    search = CopySearch(images)
    whole = search.nearest(images, own=torch.arange(12))
    assert bool((whole.index != torch.arange(12)).all())
    assert (int(whole.index[7]), int(whole.index[2])) == (2, 7)
    monkeypatch.setattr("sadm.evaluation.memorisation.copies._MOST_QUERIES", 5)
    seen = []
    parts = search.nearest(images, torch.arange(12), lambda done, total: seen.append((done, total)))
    assert torch.equal(parts.index, whole.index)
    assert torch.allclose(parts.distance, whole.distance, atol=1e-6)
    assert seen == [(5, 12), (10, 12), (12, 12)]


def test_images_that_are_not_square_are_not_turned_by_a_quarter():
    images = smooth(4, 3, side=16)[..., :10]
    found = CopySearch(images).nearest(images.flip(-2))
    assert found.index.tolist() == [0, 1, 2, 3]
    assert {ORIENTATIONS[o] for o in found.orientation.tolist()} == {"upside_down"}


def test_difference_is_grey_for_a_copy_and_shows_what_was_added():
    image = smooth(1, side=16)
    query = image.flip(-1) * 0.7 + 0.1
    found = CopySearch(image).nearest(query)
    assert float(difference(query, image, found.orientation, found.shift).abs().max()) < 1e-3
    query[0, 0, 8, 8] += 0.5
    left = difference(query, image, found.orientation, found.shift)
    assert float(left.abs().max()) > 0.3


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("source", ["digits", "surfaces:count=400,size=32"])
def test_planted_copies_have_their_originals_nearest(source, kind):
    split = load_split(source, held_out=0.4)
    images = split.train.floats()[:200]
    planted = copies(images[:60], kind, 0)
    found = CopySearch(images).nearest(planted)
    assert float((found.index == torch.arange(60)).float().mean()) >= 0.95
    assert not torch.equal(planted, images[:60]) or kind == "exact"
