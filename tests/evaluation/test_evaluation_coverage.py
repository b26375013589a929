"""Precision and recall, and judging class by class, against plain loops and sets whose answer is known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sadm.core.errors import UserError
from sadm.data import ImageSet
from sadm.evaluation import (
    Coverage,
    Evaluator,
    GaussianFit,
    Manifold,
    PerClass,
    PixelJudge,
    RandomConvJudge,
    frechet_distance,
    precision_recall,
)


def points(seed: int, count: int, length: int, shift: float = 0.0) -> np.ndarray:
    return shift + np.random.default_rng(seed).standard_normal((count, length))


# ---- precision and recall --------------------------------------------------------------------------------------------


def naive_share(inside: np.ndarray, manifold: np.ndarray, neighbours: int) -> float:
    """The paper's equation 1, sample by sample."""

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return math.sqrt(sum((float(u) - float(v)) ** 2 for u, v in zip(a, b, strict=True)))

    radii = []
    for i, centre in enumerate(manifold):
        others = sorted(distance(centre, other) for j, other in enumerate(manifold) if j != i)
        radii.append(others[neighbours - 1])
    hits = 0
    for point in inside:
        hits += any(distance(point, centre) <= radius for centre, radius in zip(manifold, radii, strict=True))
    return hits / len(inside)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(5, 12),
    m=st.integers(5, 12),
    length=st.integers(1, 4),
    neighbours=st.integers(1, 4),
    shift=st.floats(0, 2),
    seed=st.integers(0, 10**6),
)
def test_precision_and_recall_equal_loops(
    n: int, m: int, length: int, neighbours: int, shift: float, seed: int
) -> None:
    generated, real = points(seed, n, length, shift), points(seed + 1, m, length)
    found = precision_recall(generated, Manifold(real, neighbours))
    assert found.precision == naive_share(generated, real, neighbours)
    assert found.recall == naive_share(real, generated, neighbours)


def test_the_number_of_rows_held_at_a_time_changes_nothing() -> None:
    generated, real = points(1, 1100, 2, 0.3), points(2, 700, 2)
    found = precision_recall(generated, Manifold(real))
    order = np.random.default_rng(0).permutation(1100)
    assert precision_recall(generated[order], Manifold(real[::-1])) == found
    assert 0.5 < found.precision < 1
    assert Manifold(real).share_inside(generated[:600]) * 600 + Manifold(real).share_inside(generated[600:]) * 500 == (
        pytest.approx(found.precision * 1100)
    )


def test_copies_are_found_and_a_set_far_away_is_not() -> None:
    real = points(3, 40, 5)
    assert precision_recall(real, Manifold(real)) == Coverage(1.0, 1.0)
    assert precision_recall(real + 100, Manifold(real)) == Coverage(0.0, 0.0)
    # Far from the origin, where a matrix product would leave a rest, and with four-fold duplicates: balls of radius 0.
    heaps = np.repeat(points(4, 10, 5), 4, axis=0) + 1e4
    assert precision_recall(heaps, Manifold(heaps)) == Coverage(1.0, 1.0)
    assert Manifold(heaps).share_inside(heaps + 1e-6) == 0


def test_a_missing_mode_costs_recall_and_an_invented_one_costs_precision() -> None:
    here, there = points(5, 60, 3), points(6, 60, 3, 50.0)
    both = np.concatenate([here, there])
    missing = precision_recall(points(7, 60, 3), Manifold(both))
    invented = precision_recall(np.concatenate([points(8, 60, 3), there]), Manifold(here))
    assert missing.recall <= 0.5 < missing.precision
    assert invented.precision <= 0.5 < invented.recall


def test_single_precision_gives_the_same_shares() -> None:
    generated, real = points(9, 50, 4).astype(np.float32), points(10, 60, 4).astype(np.float32)
    found = precision_recall(generated, Manifold(real))
    assert found == precision_recall(generated.astype(np.float64), Manifold(real.astype(np.float64)))
    assert Manifold(real).radii.dtype == np.float64


@pytest.mark.parametrize("shape", [(3, 4), (0, 4), (4,), (5, 2, 2)])
def test_too_few_images_or_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"3 neighbours needs features \[N, d\] of at least 4 images, got shape"):
        Manifold(np.zeros(shape))


def test_values_that_can_not_be_compared_are_refused() -> None:
    broken = points(11, 6, 3)
    broken[2, 1] = np.nan
    with pytest.raises(UserError, match="NaN or infinite"):
        Manifold(broken)
    with pytest.raises(UserError, match="different length: 2 and 3"):
        Manifold(points(12, 6, 3)).share_inside(points(13, 5, 2))


# ---- class by class --------------------------------------------------------------------------------------------------


def striped(counts: list[int], seed: int = 0, labelled: bool = True) -> ImageSet:
    """Stripes whose place is the class, over noise; `counts` images of each class, mixed."""
    source = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=source)]
    pixels = torch.randint(0, 120, (len(labels), 1, 6, 6), generator=source)
    for i, label in enumerate(labels.tolist()):
        pixels[i, :, label::3, :] += 100
    return ImageSet(
        images=pixels.to(torch.uint8),
        labels=labels if labelled else None,
        class_names=("common", "rare", "lost")[: len(counts)] if labelled else (),
        names=tuple(str(i) for i in range(len(labels))),
        source="stripes",
    )


@pytest.fixture(scope="module")
def by_class() -> PerClass:
    judges = [PixelJudge(striped([30, 30, 30], seed=9)), RandomConvJudge(1)]
    return PerClass(judges, striped([20, 6, 2]), striped([15, 9, 5], seed=1))


def test_classes_are_as_large_as_the_smaller_part_and_small_ones_left_out(by_class: PerClass) -> None:
    assert by_class.sizes == {"common": 15, "rare": 6}
    labels = by_class.labels(2)
    assert labels.tolist() == [0] * 30 + [1] * 12
    assert labels.dtype == torch.int64


def test_a_class_is_judged_on_its_own_images_in_groups(by_class: PerClass) -> None:
    """Against each class picked out, grouped and averaged by hand."""
    images = striped([30, 12], seed=2)
    images = dataclasses.replace(images, class_names=("common", "rare", "lost"))
    reference = striped([20, 6, 2])
    assert images.labels is not None
    assert reference.labels is not None
    found = by_class.evaluate(images)
    assert found.keys() == {"common", "rare"}
    for index, (name, size) in enumerate([("common", 15), ("rare", 6)]):
        own = [i for i, label in enumerate(images.labels.tolist()) if label == index]
        real = [i for i, label in enumerate(reference.labels.tolist()) if label == index][:size]
        for judge in by_class.judges:
            target = judge.features(reference.subset(torch.tensor(real)))
            distances, precisions, recalls = [], [], []
            for start in (0, size):
                features = judge.features(images.subset(torch.tensor(own[start : start + size])))
                distances.append(frechet_distance(GaussianFit.of(features), GaussianFit.of(target)))
                precisions.append(naive_share(features, target, 3))
                recalls.append(naive_share(target, features, 3))
            assert found[name].fd[judge.name] == pytest.approx(np.mean(distances), rel=1e-9)
            assert found[name].precision[judge.name] == pytest.approx(np.mean(precisions))
            assert found[name].recall[judge.name] == pytest.approx(np.mean(recalls))


def test_the_real_score_is_that_of_as_many_floor_images(by_class: PerClass) -> None:
    floor = striped([15, 9, 5], seed=1)
    assert floor.labels is not None
    chosen = [(floor.labels == index).nonzero().flatten()[:size] for index, size in ((0, 15), (1, 6))]
    again = by_class.evaluate(floor.subset(torch.cat(chosen)))
    assert again == by_class.real
    assert by_class.real["common"].recall["pixels"] > 0.5


def test_images_of_the_wrong_class_score_badly(by_class: PerClass) -> None:
    images = striped([30, 12], seed=3)
    images = dataclasses.replace(images, class_names=("common", "rare", "lost"))
    assert images.labels is not None
    swapped = images.images.clone()
    rare = (images.labels == 1).nonzero().flatten()
    swapped[rare] = images.images[(images.labels == 0).nonzero().flatten()[: len(rare)]]
    right, wrong = by_class.evaluate(images), by_class.evaluate(dataclasses.replace(images, images=swapped))
    assert wrong["common"] == right["common"]
    for judge in ("pixels", "random_conv"):
        assert wrong["rare"].fd[judge] > 1.5 * right["rare"].fd[judge]
    assert wrong["rare"].recall["pixels"] < right["rare"].recall["pixels"]


def test_other_numbers_of_images_and_unlabelled_images_are_refused(by_class: PerClass) -> None:
    for counts, message in (([15, 7], "multiple of 6 images of class 'rare', got 7"), ([15, 0], "'rare', got 0")):
        images = dataclasses.replace(striped(counts), class_names=("common", "rare", "lost"))
        with pytest.raises(UserError, match=message):
            by_class.evaluate(images)
    with pytest.raises(UserError, match="got no labels"):
        by_class.evaluate(striped([30, 12], labelled=False))
    with pytest.raises(UserError, match="stripes has no classes"):
        PerClass(by_class.judges, striped([9, 9], labelled=False), striped([9, 9], labelled=False))


def test_where_no_class_is_large_enough_nothing_is_judged() -> None:
    small = PerClass([RandomConvJudge(1)], striped([3, 3]), striped([9, 9], seed=1))
    assert (small.sizes, small.real, small.labels(4).tolist()) == ({}, {}, [])


# ---- in the evaluator ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator(striped([60, 40], seed=4))


def test_an_evaluation_holds_coverage_where_it_is_asked_for(evaluator: Evaluator) -> None:
    images = torch.cat([evaluator.parts.floor.floats(), evaluator.parts.judging.floats()])
    found = evaluator.evaluate(images, coverage=True)
    assert found.precision is not None
    assert found.recall is not None
    for judge in evaluator.judges:
        reference = judge.features(evaluator.parts.reference)
        groups = [judge.features(part) for part in (evaluator.parts.floor, evaluator.parts.judging)]
        precision = np.mean([naive_share(features, reference, 3) for features in groups])
        recall = np.mean([naive_share(reference, features, 3) for features in groups])
        assert found.precision[judge.name] == pytest.approx(precision)
        assert found.recall[judge.name] == pytest.approx(recall)
    plain = evaluator.evaluate(images)
    assert (plain.precision, plain.recall, plain.classes) == (None, None, None)
    assert plain.fd == found.fd
    assert plain.as_dict().keys() == {"fd", "kid", "label_accuracy", "images", "group"}
    assert found.as_dict().keys() == plain.as_dict().keys() | {"precision", "recall"}


def test_real_images_set_the_scale_of_coverage(evaluator: Evaluator) -> None:
    found = evaluator.evaluate(evaluator.parts.floor.floats(), coverage=True)
    assert evaluator.real_coverage == {"precision": found.precision, "recall": found.recall}


def test_the_evaluator_judges_classes_with_its_own_parts(evaluator: Evaluator) -> None:
    labels = evaluator.by_class.labels(1)
    reference = evaluator.parts.reference
    assert reference.labels is not None
    # The reference's own images come back at distance 0, inside their own manifold.
    chosen = [
        (reference.labels == index).nonzero().flatten()[:size]
        for index, size in enumerate(evaluator.by_class.sizes.values())
    ]
    found = evaluator.evaluate_classes(reference.floats(torch.cat(chosen)), labels)
    for scores in found.values():
        assert all(abs(fd) < 1e-4 for fd in scores.fd.values())
        assert set(scores.precision.values()) == set(scores.recall.values()) == {1.0}
    kept = dataclasses.replace(evaluator.evaluate(reference.floats()), classes=found).as_dict()
    assert kept["classes"]["rare"].keys() == {"fd", "precision", "recall"}
