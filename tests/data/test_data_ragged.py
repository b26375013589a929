"""Images of several sizes in one buffer, and windows of one size."""

from __future__ import annotations

import pytest
import torch

from sadm.core.errors import UserError
from sadm.data.ragged import Ragged
from sadm.data.resampling import resize_array

SIZES = [(5, 9), (7, 4), (4, 4), (12, 6)]
IMAGES = [
    torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(i))
    for i, size in enumerate(SIZES)
]


def test_images_come_back_as_they_were_also_from_a_subset() -> None:
    ragged = Ragged.of(IMAGES)
    assert len(ragged) == 4
    assert all(torch.equal(ragged[i], image) for i, image in enumerate(IMAGES))
    some = ragged.subset(torch.tensor([3, 0, 3]))
    assert all(torch.equal(some[i], IMAGES[j]) for i, j in enumerate([3, 0, 3]))


def test_windows_are_cut_where_asked() -> None:
    ragged = Ragged.of(IMAGES)
    index = torch.tensor([3, 0, 1, 2])
    places = torch.tensor([[0.0, 0.999999], [0.999999, 0.5], [0.3, 0.0], [0.7, 0.7]])
    found = ragged.windows(index, (4, 4), places)
    for window, i, (top, left) in zip(found, index.tolist(), [(0, 2), (1, 3), (1, 0), (0, 0)], strict=True):
        assert torch.equal(window, IMAGES[i][:, top : top + 4, left : left + 4])


def test_every_place_is_equally_likely() -> None:
    ragged = Ragged.of([torch.arange(7, dtype=torch.uint8).view(1, 1, 7)])
    draws = torch.rand(7000, 2, generator=torch.Generator().manual_seed(0))
    lefts = ragged.windows(torch.zeros(7000, dtype=torch.int64), (1, 3), draws)[:, 0, 0, 0]
    counts = torch.bincount(lefts.long(), minlength=5)
    assert len(counts) == 5  # 7 - 3 + 1
    assert (counts - 1400).abs().max() < 5 * (7000 * 0.2 * 0.8) ** 0.5


def test_a_window_larger_than_an_image_is_refused() -> None:
    with pytest.raises(UserError, match="a window of 6 x 4 pixels can't be drawn from an image that is smaller"):
        Ragged.of(IMAGES).windows(torch.tensor([0, 1]), (4, 6), torch.zeros(2, 2))


def test_shapes_are_listed_from_tall_to_wide_with_those_that_have_them() -> None:
    ragged = Ragged.of([IMAGES[i] for i in (1, 0, 2, 1, 3, 0)])
    shapes, which = ragged.shapes()
    assert shapes.tolist() == [[12, 6], [7, 4], [4, 4], [5, 9]]
    assert which.tolist() == [1, 3, 2, 1, 0, 3]
    assert torch.equal(ragged.flat(), torch.cat([IMAGES[i].flatten() for i in (1, 0, 2, 1, 3, 0)]))
    few = ragged.subset(torch.tensor([5, 2]))
    assert few.shapes()[0].tolist() == [[4, 4], [5, 9]]
    assert torch.equal(few.flat(), torch.cat([IMAGES[0].flatten(), IMAGES[2].flatten()]))


def test_images_of_one_size_are_stacked_and_others_refused() -> None:
    ragged = Ragged.of([IMAGES[0], IMAGES[1], IMAGES[0].flip(-1)])
    assert torch.equal(ragged.stacked(torch.tensor([2, 0, 2])), torch.stack([ragged[2], ragged[0], ragged[2]]))
    with pytest.raises(UserError, match="one tensor was asked for of images of 2 sizes"):
        ragged.stacked(torch.tensor([0, 1]))


def test_all_are_resized_each_as_alone() -> None:
    ragged = Ragged.of(IMAGES).subset(torch.tensor([3, 2, 1, 0, 2]))
    found = ragged.resized((4, 4))
    for i in range(5):
        alone = ragged[i] if ragged[i].shape[1:] == (4, 4) else resize_array(ragged[i][None], (4, 4))[0]
        assert torch.equal(found[i], alone)
    assert ragged.resized((6, 3)).shape == (5, 3, 3, 6)
