"""The real images beside a report's samples."""

from __future__ import annotations

import torch

from sadm.data import ImageSet
from sadm.experiments.plan import GRID_IMAGES
from sadm.experiments.samples import _real_like
from sadm.training.grid import grid_labels


def held_out(labels: list[int], classes: int) -> ImageSet:
    """Images of one colour, ten times their label and their place in the class."""
    seen = [10 + 10 * label + labels[:place].count(label) for place, label in enumerate(labels)]
    images = torch.tensor(seen, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2).contiguous()
    names = tuple(str(place) for place in range(len(labels)))
    return ImageSet(images, torch.tensor(labels), tuple("abcdefgh"[:classes]), names, "test")


def test_a_class_without_further_images_leaves_its_places_grey() -> None:
    images = held_out([0, 1, 1, 2, 0, 2, 1], classes=3)
    real = _real_like(images, grid_labels(3, GRID_IMAGES))
    assert real.shape == (GRID_IMAGES, 1, 2, 2)
    colours = ((real[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
    assert colours[:9] == [10, 20, 30, 11, 21, 31, 128, 22, 128]
    assert (real[9:] == 0).all()


def test_a_class_without_any_image_is_grey_all_through() -> None:
    real = _real_like(held_out([1, 1], classes=2), grid_labels(2, 4))
    assert (real[[0, 2]] == 0).all()
    assert (real[[1, 3]] != 0).all()


def test_without_classes_the_first_images_are_shown() -> None:
    images = held_out([0, 0, 0], classes=1)
    assert torch.equal(_real_like(images, None), images.floats())
