"""Detectors and their scores: against scikit-learn, by hand, over seeds, and with what should help."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from sadm.core.errors import UserError
from sadm.data import ImageSet
from sadm.evaluation.detection import (
    DetectorSettings,
    Examples,
    Found,
    area_under_roc,
    average_precision,
    defect_maps,
    measure_detection,
    pasted,
)
from sadm.evaluation.detection.measure import gain
from sadm.evaluation.detection.scores import levels_of

QUICK = DetectorSettings(steps=30, batch=8, width=4)


def squares(count: int, seed: int, bright: int = 60) -> ImageSet:
    """Noise [count, 1, 12, 12]; every second image has a brighter square of 4 pixels, which is marked."""
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(60, 140, (count, 1, 12, 12), generator=draws)
    masks = torch.zeros(count, 1, 12, 12, dtype=torch.uint8)
    for i in range(1, count, 2):
        y, x = torch.randint(0, 9, (2,), generator=draws).tolist()
        images[i, :, y : y + 4, x : x + 4] += bright
        masks[i, :, y : y + 4, x : x + 4] = 255
    names = tuple(f"{seed}/{i}" for i in range(count))
    return ImageSet(images.to(torch.uint8), None, (), names, "squares", masks=masks)


@pytest.mark.parametrize("levels", [3, 1000])
def test_the_area_under_the_curve_is_that_of_scikit_learn(levels: int) -> None:
    draws = np.random.default_rng(levels)
    scores, positive = draws.integers(0, levels, 80) / levels, draws.random(80) < 0.3
    counts = np.stack([np.ones(80), draws.integers(1, 4, 80)])
    found = area_under_roc(scores, positive, counts)
    for row, weights in zip(found, counts, strict=True):
        assert row == pytest.approx(roc_auc_score(positive, scores, sample_weight=weights), abs=1e-12)


def test_an_area_needs_both_kinds() -> None:
    for positive in (np.ones(4, bool), np.zeros(4, bool)):
        with pytest.raises(ValueError, match="positives and negatives"):
            area_under_roc(np.arange(4.0), positive, np.ones((1, 4)))


def test_average_precision_is_that_of_scikit_learn() -> None:
    maps = torch.rand(6, 9, 7, generator=torch.Generator().manual_seed(0))
    masks = (torch.rand(6, 1, 9, 7, generator=torch.Generator().manual_seed(1)) < 0.2).to(torch.uint8) * 255
    masks[0] = 0
    found, levels = Found(maps, masks), levels_of(maps).flatten().numpy()
    expected = average_precision_score(masks.flatten().numpy() == 255, levels)
    assert found.precision() == pytest.approx(expected, abs=1e-12)
    rows = np.array([1, 1, 4, 0])
    expected = average_precision_score(
        masks[rows].flatten().numpy() == 255, levels_of(maps)[torch.tensor(rows)].flatten().numpy()
    )
    assert found.precision(np.array([[1, 2, 0, 0, 1, 0]])) == pytest.approx(expected, abs=1e-12)
    assert found.marked.tolist() == [False, True, True, True, True, True]


def test_perfect_and_worthless_answers() -> None:
    positives, negatives = np.zeros((2, 1, 1000))
    positives[0, 900], negatives[0, 100] = 5, 95
    assert average_precision(positives, negatives) == 1
    assert average_precision(negatives, positives) == pytest.approx(95 / 100)


def test_an_images_score_is_its_brightest_neighbourhood() -> None:
    maps = torch.zeros(1, 5, 6)
    maps[0, 1:4, 2:5] = torch.arange(9.0).view(3, 3) / 9
    found = Found(maps, torch.zeros(1, 1, 5, 6, dtype=torch.uint8))
    best = max(float(maps[0, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].mean()) for y in range(5) for x in range(6))
    assert found.scores[0] == pytest.approx(best, abs=1e-6)


def test_a_detector_learns_and_is_the_same_every_time() -> None:
    good, real = Examples.of(squares(40, 0))
    test = squares(20, 1)
    settings = DetectorSettings(steps=60, batch=8, width=4)
    maps = defect_maps(good, [(real.images, real.masks)], test.images, settings, 0)
    assert maps.shape == (20, 12, 12)
    assert Found(maps, test.masks).precision() > 0.7  # type: ignore[arg-type]
    assert torch.equal(maps, defect_maps(good, [(real.images, real.masks)], test.images, settings, 0))
    assert not torch.equal(maps, defect_maps(good, [(real.images, real.masks)], test.images, settings, 1))


def test_each_pool_is_seen_as_often_as_the_others() -> None:
    """Pools of one image and of many: by their grey value, which turning leaves as it is."""
    from sadm.evaluation.detection.detector import detector_batch

    def flat(count: int, value: int) -> torch.Tensor:
        return torch.full((count, 1, 4, 4), value, dtype=torch.uint8)

    settings = DetectorSettings(batch=16)
    pools = [(flat(1, 100), flat(1, 255)), (flat(50, 200), flat(50, 255))]
    images, masks = detector_batch(flat(3, 0), pools, settings, torch.Generator().manual_seed(0))
    assert images[:, 0, 0, 0].bincount(minlength=201)[[0, 100, 200]].tolist() == [8, 4, 4]
    assert torch.equal(masks.amax((1, 2, 3)) == 1, images.amax((1, 2, 3)) > 0)


def test_images_are_turned_with_their_masks() -> None:
    from sadm.evaluation.detection.detector import detector_batch

    real = squares(40, 3, bright=100)
    marked = (real.masks > 0).flatten(1).any(1)  # type: ignore[operator]
    own = torch.where(real.masks[marked] > 0, 255, 0).to(torch.uint8)  # type: ignore[index]
    images, masks = detector_batch(
        torch.zeros_like(own), [(own, own)], DetectorSettings(batch=32), torch.Generator().manual_seed(0)
    )
    assert torch.equal(images == 255, masks == 1)


def test_pasted_defects_are_where_their_masks_say() -> None:
    good, real = Examples.of(squares(30, 4, bright=100))
    flat = torch.full_like(good, 50)
    images, masks = pasted(flat, real.images, real.masks, 25, seed=1)
    assert images.shape == (25, 1, 12, 12)
    places = set()
    for image, mask in zip(images, masks, strict=True):
        assert int((mask == 255).sum()) == 16  # whole
        far = torch.nn.functional.max_pool2d((mask == 255).float()[None], 3, 1, 1)[0] == 0
        assert (image[far] == 50).all()
        assert float(image[mask == 255].float().mean()) > 90
        places.add(tuple((mask[0] == 255).nonzero()[0].tolist()))
    assert len(places) > 10
    again = pasted(flat, real.images, real.masks, 25, seed=1)
    assert torch.equal(images, again[0])


def test_a_pasted_defect_that_an_edge_cut_off_stays_at_an_edge() -> None:
    """At any of the four, as it is turned; along the edge it is moved."""
    defect, flat = torch.full((1, 1, 9, 9), 50, dtype=torch.uint8), torch.full((2, 1, 9, 9), 50, dtype=torch.uint8)
    mask = torch.zeros_like(defect)
    mask[..., 0:2, 3:7] = 255
    _, masks = pasted(flat, defect, mask, 40, seed=0)
    rows = [one[0].nonzero() for one in masks]
    boxes = [(*found.amin(0).tolist(), *found.amax(0).tolist()) for found in rows]
    wide = [box for box in boxes if box[3] - box[1] == 3]
    assert {(box[0], box[2]) for box in wide} == {(0, 1), (7, 8)}
    assert {(box[1], box[3]) for box in boxes if box not in wide} == {(0, 1), (7, 8)}
    assert len({box[1] for box in wide}) > 3


def test_gains_are_differences_over_paired_seeds() -> None:
    masks = squares(20, 5).masks
    assert masks is not None
    draws = torch.Generator().manual_seed(0)
    theirs = [Found(torch.rand(20, 12, 12, generator=draws), masks) for _ in range(3)]
    ours = [Found((masks[:, 0] / 255.0) * 0.9, masks) for _ in range(3)]
    for metric in ("auroc", "pixel_ap"):
        found = gain(ours, theirs, metric)
        score = Found.roc if metric == "auroc" else Found.precision
        assert found["values"] == [float((score(a) - score(b))[0]) for a, b in zip(ours, theirs, strict=True)]
        assert found["mean"] == pytest.approx(sum(found["values"]) / 3)
        assert 0 < found["low"] < found["mean"] < found["high"]
    nothing = gain(theirs, theirs, "auroc")
    assert (nothing["mean"], nothing["low"], nothing["high"]) == (0, 0, 0)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Two equally good kinds of noise: the true difference is 0. Of 40 intervals, 30 at least must hold it (on average 38)."""
    held = 0
    for trial in range(40):
        draws = torch.Generator().manual_seed(trial)
        masks = squares(30, trial).masks
        assert masks is not None
        arms = [
            [Found((0.3 * masks[:, 0] / 255 + 0.7 * torch.rand(30, 12, 12, generator=draws)), masks) for _ in range(2)]
            for _ in range(2)
        ]
        found = gain(*arms, "auroc")
        held += found["low"] <= 0 <= found["high"]
    assert held >= 30


def test_several_views_of_a_part_make_no_interval_narrower() -> None:
    """Three equal images of each: the interval is that of one of each, and a narrower one where they count as independent."""
    masks = squares(24, 5).masks
    assert masks is not None
    draws = torch.Generator().manual_seed(0)
    arms = [[0.08 * masks[:, 0] / 255 + share * torch.rand(24, 12, 12, generator=draws)] for share in (0.7, 0.5)]

    def views(count: int) -> list[list[Found]]:
        return [[Found(one.repeat(count, 1, 1), masks.repeat(count, 1, 1, 1)) for one in arm] for arm in arms]

    for metric in ("auroc", "pixel_ap"):
        alone = gain(*views(1), metric)
        together = gain(*views(3), metric, np.tile(np.arange(24), 3))
        assert (together["low"], together["high"]) == pytest.approx((alone["low"], alone["high"]))
        apart = gain(*views(3), metric)
        assert apart["high"] - apart["low"] < 0.75 * (alone["high"] - alone["low"])


def test_a_measurement_knows_the_groups_of_its_test_images() -> None:
    training, test = squares(16, 6), squares(14, 7)
    good, real = Examples.of(training)
    added = {"more": Examples(*pasted(good, real.images, real.masks, 6, seed=0))}
    grouped = dataclasses.replace(test, groups=tuple(str(index // 4) for index in range(14)))
    apart, together = (measure_detection(training, some, added, 1, QUICK)["gains"]["more"] for some in (test, grouped))
    for metric in ("auroc", "pixel_ap"):
        assert apart[metric]["values"] == together[metric]["values"]
    assert apart["pixel_ap"]["low"] != together["pixel_ap"]["low"]


def test_a_measurement_is_the_sum_of_its_parts_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sadm.evaluation.detection import measure

    training, test = squares(16, 6), squares(14, 7)
    good, real = Examples.of(training)
    added = {"more": Examples(*pasted(good, real.images, real.masks, 6, seed=0))}
    whole = measure_detection(training, test, added, 2, QUICK)
    by_hand = []
    for seed in range(2):
        pools = [(real.images, real.masks), (added["more"].images, added["more"].masks)]
        by_hand.append(Found(defect_maps(good, pools, test.images, QUICK, seed), test.masks).roc()[0])  # type: ignore[arg-type]
    assert whole["arms"]["more"]["auroc"]["values"] == by_hand
    assert (whole["good"], whole["defects"], whole["added"]) == (8, 8, {"more": 6})
    assert whole["test"] == {"good": 7, "defects": 7}
    calls = []

    def counted(*arguments, **options):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(arguments[4])
        return defect_maps(*arguments, **options)

    monkeypatch.setattr(measure, "defect_maps", counted)
    with pytest.raises(KeyboardInterrupt):
        measure_detection(training, test, added, 2, QUICK, folder=tmp_path / "parts")
    calls[:] = [None] * 0
    assert measure_detection(training, test, added, 2, QUICK, folder=tmp_path / "parts") == whole
    assert len(calls) == 1
    assert not (tmp_path / "parts").exists()


def test_each_seed_may_have_examples_of_its_own_and_arms_may_be_compared() -> None:
    training, test = squares(16, 6), squares(14, 7)
    good, real = Examples.of(training)
    one, two = (Examples(*pasted(good, real.images, real.masks, 6, seed=seed)) for seed in (0, 1))
    both = measure_detection(training, test, {"own": [one, two], "one": one}, 2, QUICK, against={"own": "one"})
    second = measure_detection(training, test, {"own": [one, one], "two": two}, 2, QUICK)
    assert both["arms"]["own"]["auroc"]["values"] == [
        both["arms"]["one"]["auroc"]["values"][0],
        second["arms"]["two"]["auroc"]["values"][1],
    ]
    assert second["arms"]["own"] == both["arms"]["one"]
    values = [[arm["auroc"]["values"][seed] for arm in both["arms"].values()] for seed in (0, 1)]  # real, own, one
    assert both["against"]["own against one"]["auroc"]["values"] == pytest.approx([v[1] - v[2] for v in values])
    with pytest.raises(UserError, match="'own' has 3 sets of images for 2 seeds"):
        measure_detection(training, test, {"own": [one, two, one]}, 2, QUICK)


def test_bad_input() -> None:
    images = squares(8, 8)
    with pytest.raises(UserError, match="at least one seed"):
        measure_detection(images, images, {}, 0)
    small = torch.zeros(2, 1, 6, 6, dtype=torch.uint8)
    with pytest.raises(UserError, match=r"shape \[1, 6, 6\]; expected \[1, 12, 12\]"):
        measure_detection(images, images, {"small": Examples(small, small)}, 1)
    with pytest.raises(UserError, match="masks are"):
        Examples(small, small[:1])
    with pytest.raises(UserError, match="no images with defects"):
        Examples(small[:0], small[:0])
    with pytest.raises(UserError, match="something marked and images without"):
        Examples.of(images.subset(torch.tensor([0, 2])))
