"""Drift on real images: none where there is none, and planted ones are found."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats

from sadm.core.errors import UserError
from sadm.data import ImageSet, load_split
from sadm.evaluation.drift import Drift, Monitor, units_of
from sadm.evaluation.drift.changes import KINDS, changed
from sadm.evaluation.drift.facts import blurred, image_facts

ALL = load_split("digits", held_out=0.4)
FAMILY = {"mlp", "pixels", "random_conv", "brightness", "contrast", "sharpness", "classes", "support"}


def divided(seed: int, new: int = 120) -> tuple[Monitor, ImageSet]:
    """Real images alone: a monitor on two thirds, and fresh images that play the new ones."""
    order = torch.randperm(len(ALL.train), generator=torch.Generator().manual_seed(seed))
    train, held_out, fresh = order[: 600 + 240 + new].split([600, 240, new])
    pick = ALL.train.subset
    return Monitor(pick(train), pick(held_out), seed), pick(fresh)


@pytest.fixture(scope="module")
def without_drift() -> list[Drift]:
    found = []
    for seed in range(24):
        monitor, fresh = divided(seed)
        found.append(monitor.measure(fresh, power=False))
    return found


def test_p_values_without_drift_are_uniform(without_drift: list[Drift]) -> None:
    for name in FAMILY:
        values = [found.tests[name].p_value for found in without_drift]
        # A p-value of few distinct statistics is uniform or larger; none may be too small too often.
        assert stats.kstest(values, "uniform", alternative="greater").pvalue > 0.002, name
        assert np.mean(values) > 0.3
    assert sum(found.found for found in without_drift) <= 2  # of 24, each with a probability of 0.01 at most
    shares = [found.support.outside.mean() for found in without_drift]
    assert np.mean(shares) <= 0.08


def rotated(images: ImageSet) -> ImageSet:
    return dataclasses.replace(images, images=images.images.rot90(1, (2, 3)).contiguous())


def test_planted_drifts_are_found_and_named() -> None:
    monitor, fresh = divided(100)
    assert not monitor.measure(fresh, power=False).found
    brighter = monitor.measure(changed(fresh, "brighter", 0.1), power=False)
    assert brighter.tests["brightness"].seen
    assert brighter.tests["brightness"].facts["by_standard_deviations"] > 0.5
    assert not brighter.tests["classes"].seen
    blurry = monitor.measure(changed(fresh, "blurry", 0.75), power=False)
    assert blurry.tests["sharpness"].seen
    assert blurry.tests["sharpness"].facts["by_standard_deviations"] < -0.5
    turned = monitor.measure(rotated(fresh), power=False)
    assert turned.found
    assert not turned.tests["brightness"].seen
    assert turned.support.outside.mean() > 0.3


def test_new_and_gone_classes_and_shares_are_found() -> None:
    monitor, fresh = divided(101, 200)
    kept = monitor.train.subset((monitor.train.labels != 7).nonzero().flatten())
    held = monitor.fresh_images
    held = held.subset((held.labels != 7).nonzero().flatten())
    without = Monitor(kept, held)
    found = without.measure(fresh, power=False)
    assert (found.new_classes, found.gone_classes) == (("7",), ())
    assert found.classes["7"]["training_share"] == 0
    others = [row["outside"] / row["images"] for name, row in found.classes.items() if name != "7"]
    assert found.classes["7"]["outside"] / found.classes["7"]["images"] > 2 * np.mean(others)
    few = fresh.subset(torch.cat([(fresh.labels == c).nonzero().flatten()[: 20 if c < 2 else 4] for c in range(9)]))
    found = monitor.measure(few, power=False)
    assert found.tests["classes"].seen
    assert found.gone_classes == ("9",)
    unlabelled = dataclasses.replace(few, labels=None, class_names=())
    guessed = monitor.measure(unlabelled, power=False)
    assert guessed.labels_from == "predicted"
    assert guessed.tests["classes"].seen
    assert guessed.new_classes == ()


def test_what_would_have_been_seen_is_what_is_seen() -> None:
    monitor, fresh = divided(102, 100)
    seen = monitor.measure(fresh).seen
    assert set(seen) == set(KINDS)
    few = monitor.measure(fresh.subset(torch.arange(10))).seen
    for kind, (_, sizes) in KINDS.items():
        rank = [sizes.index(one) if one is not None else len(sizes) for one in (seen[kind], few[kind])]
        assert rank[0] <= rank[1], kind
    for kind in ("brighter", "blurry", "moved"):
        size = seen[kind]
        assert size is not None
        hits = [
            own.measure(changed(new, kind, size), power=False).found for own, new in map(divided_by, range(200, 206))
        ]
        assert sum(hits) >= 4, kind


def divided_by(seed: int) -> tuple[Monitor, ImageSet]:
    return divided(seed, 100)


def test_facts_are_those_of_a_naive_loop() -> None:
    draws = np.random.default_rng(3)
    pixels = draws.integers(0, 256, (3, 3, 5, 6)).astype(np.uint8)
    facts = image_facts(ImageSet(torch.from_numpy(pixels), None, (), ("a", "b", "c"), "made up"))
    for i, (red, green, blue) in enumerate(pixels.astype(float)):
        grey = 0.299 * red + 0.587 * green + 0.114 * blue
        across = np.abs(grey[:, 1:] - grey[:, :-1]).mean()
        down = np.abs(grey[1:] - grey[:-1]).mean()
        channels = np.stack([red, green, blue])
        expected = {
            "brightness": grey.mean(),
            "contrast": grey.std(),
            "sharpness": (across + down) / 2 / grey.std(),
            "saturation": (channels.max(0) - channels.min(0)).mean(),
            "warmth": red.mean() - blue.mean(),
            "tint": green.mean() - (red.mean() + blue.mean()) / 2,
        }
        assert {name: values[i] for name, values in facts.items()} == pytest.approx(expected, rel=1e-4)
    grey_facts = image_facts(ImageSet(torch.from_numpy(pixels[:, :1].copy()), None, (), ("a", "b", "c"), "made up"))
    assert set(grey_facts) == {"brightness", "contrast", "sharpness"}


def test_the_blur_is_scipys() -> None:
    from scipy.ndimage import gaussian_filter

    image = torch.rand(1, 2, 12, 9, generator=torch.Generator().manual_seed(0))
    expected = [gaussian_filter(channel, 1.0, mode="nearest", radius=3) for channel in image[0].numpy()]
    assert np.allclose(blurred(image, 1.0)[0].numpy(), expected, atol=1e-6)


def test_equal_pixels_and_groups_are_one_unit() -> None:
    images = ALL.train.subset(torch.tensor([0, 1, 0, 2]))
    assert units_of(images).tolist().count(units_of(images)[0]) == 2
    grouped = dataclasses.replace(images, groups=("p", "p", "q", "q"))
    assert units_of(grouped).tolist() == [0, 0, 1, 1]


def test_other_shapes_and_single_images_are_refused() -> None:
    monitor, fresh = divided(103)
    with pytest.raises(UserError, match="at least 2 are needed"):
        monitor.measure(fresh.subset(torch.arange(1)))
    wide = dataclasses.replace(fresh, images=fresh.images[..., :4].contiguous())
    with pytest.raises(UserError, match="expected one shape"):
        monitor.measure(wide)
