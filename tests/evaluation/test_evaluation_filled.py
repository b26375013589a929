"""Whether filling rare classes helps: cross-fitted classifiers, recall at equal precision, the measurement; against loops."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sadm.core.errors import UserError
from sadm.core.seeds import derive_seed, generator
from sadm.core.store import Store
from sadm.data import Augmentation, ImageSet, to_uint8
from sadm.evaluation.downstream import ClassifierSettings, Downstream, DownstreamSettings, class_logits
from sadm.evaluation.downstream.cross_fitted import CrossFitted, folds_of
from sadm.evaluation.downstream.crossed import crossed_interval
from sadm.evaluation.downstream.equal_precision import LEAST, found_at, found_of_classes, precision_of
from sadm.evaluation.downstream.filled import HELPS, HURTS, NOT_SHOWN, measure_filled, outcome_of
from sadm.evaluation.downstream.mixing import together
from sadm.evaluation.downstream.repeating import changed, repeated
from sadm.evaluation.downstream.scores import Answers

NAMES = ("a", "b", "rare")
PATTERNS = 0.2 * nn.functional.interpolate(
    torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0)), size=8, mode="bilinear"
)


def made_up(labels: torch.Tensor, seed: int) -> ImageSet:
    """A pattern for each class, in noise."""
    noise = torch.randn(len(labels), 1, 8, 8, generator=generator(seed, "made up"))
    pixels = to_uint8((PATTERNS[labels] + 0.3 * noise).clamp(-1, 1))
    return ImageSet(pixels, labels, NAMES, tuple(f"image {i}" for i in range(len(labels))), "made up")


def linear(shape: tuple[int, int, int], classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))


RARE = torch.tensor([0] * 40 + [1] * 40 + [2] * 4)
CLASSIFIER = ClassifierSettings(60, 32, 1e-2, shift=0.0, network=linear)
REAL, TEST = made_up(RARE, 1), made_up(torch.arange(300) % 3, 2)


def bench(seeds: int = 3, test: ImageSet = TEST) -> Downstream:
    return Downstream(REAL, test, DownstreamSettings(seeds, classifier=CLASSIFIER))


# ---- cross-fitted classifiers ----------------------------------------------------------------------------------------


def test_folds_share_out_classes_and_keep_groups_together() -> None:
    fold = folds_of(REAL, RARE, 3, seed=0)
    for label in range(3):
        counts = torch.bincount(fold[label == RARE], minlength=3)
        assert int(counts.max() - counts.min()) <= 1
    assert torch.equal(fold, folds_of(REAL, RARE, 3, seed=0))
    assert not torch.equal(fold, folds_of(REAL, RARE, 3, seed=1))
    groups = tuple(f"part {i // 4}" for i in range(84))
    grouped = folds_of(dataclasses.replace(REAL, groups=groups), RARE, 3, seed=0)
    for start in range(0, 84, 4):
        assert len(set(grouped[start : start + 4].tolist())) == 1
    assert grouped.unique().tolist() == [0, 1, 2]


def test_each_image_is_told_by_the_classifier_that_has_not_seen_it() -> None:
    fitted = CrossFitted(REAL, CLASSIFIER, folds=3, seed=5)
    images = made_up(torch.tensor([2, 2, 0, 1, 2]), 3)
    asked = fitted.ask(images, 2)
    probabilities = []
    for number in range(3):
        seen = [i for i in range(84) if int(fitted.fold[i]) != number]
        unseen = [i for i in range(84) if int(fitted.fold[i]) == number]
        part = REAL.subset(torch.tensor(seen))
        seed = derive_seed(5, "cross-fitted", number)
        counts = [1 + sum(int(RARE[i]) == label for i in seen) for label in range(3)]
        prior = torch.tensor(counts).double().log()

        def of(other: ImageSet, part: ImageSet = part, seed: int = seed, prior: torch.Tensor = prior) -> np.ndarray:
            return (class_logits(part, other, CLASSIFIER, seed).double() - prior).softmax(1).numpy()

        own = of(REAL.subset(torch.tensor(unseen)))
        for row, i in enumerate(unseen):
            assert fitted.own[i] == pytest.approx(own[row, int(RARE[i])], abs=1e-6)
        probabilities.append(of(images))
    assert asked.probability == pytest.approx(np.mean(probabilities, axis=0)[:, 2], abs=1e-6)
    assert asked.called.tolist() == (np.mean(probabilities, axis=0).argmax(1) == 2).tolist()
    for row in range(5):
        as_unsure = sum(
            fitted.own[i] <= probabilities[int(fitted.fold[i])][row, 2] for i in range(84) if int(RARE[i]) == 2
        )
        assert asked.share[row] == as_unsure / 4


def test_stored_classifiers_answer_as_trained_ones(tmp_path: Path) -> None:
    images = made_up(torch.tensor([2, 0, 1]), 3)
    first = CrossFitted(REAL, CLASSIFIER, store=Store(tmp_path / "kept", {}))
    again = CrossFitted(
        REAL, dataclasses.replace(CLASSIFIER, steps=10**9), store=Store(tmp_path / "kept", {})
    )  # nothing is trained
    assert np.array_equal(first.own, again.own)
    assert np.array_equal(first.ask(images, 1).probability, again.ask(images, 1).probability)


# ---- recall at equal precision ---------------------------------------------------------------------------------------


def naive_recall(logits: torch.Tensor, labels: torch.Tensor, label: int, precision: float) -> float:
    """The best recall over all thresholds whose precision suffices."""
    margins = [float(row[label] - max(row[j] for j in range(len(row)) if j != label)) for row in logits.double()]
    best = 0.0
    for threshold in margins:
        called = [i for i, margin in enumerate(margins) if margin >= threshold]
        right = sum(int(labels[i]) == label for i in called)
        if right / len(called) >= precision:
            best = max(best, right / int((labels == label).sum()))
    return best


@pytest.mark.parametrize("precision", [0.0, 0.4, 0.7, 0.9, 1.0])
def test_recall_is_the_best_at_a_precision(precision: float) -> None:
    draws = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 3, (60,), generator=draws)
    logits = torch.randn(60, 3, generator=draws) + 1.5 * torch.nn.functional.one_hot(labels, 3)
    found = found_at(Answers(logits, labels), 1, precision)
    assert len(found) == int((labels == 1).sum())
    assert found.mean() == pytest.approx(naive_recall(logits, labels, 1, precision))


def test_calling_more_images_so_is_no_gain() -> None:
    draws = torch.Generator().manual_seed(4)
    labels = torch.randint(0, 3, (90,), generator=draws)
    logits = torch.randn(90, 3, generator=draws) + torch.nn.functional.one_hot(labels, 3)
    real, bold = Answers(logits, labels), Answers(logits + torch.tensor([0.0, 0.0, 2.0]), labels)
    assert bold.recall[2] > real.recall[2]
    ours, classes = found_of_classes([bold], [real], [2, 0])
    assert np.array_equal(ours[:, classes == 2], found_of_classes([real], [real], [2])[0])
    assert classes.tolist() == [2] * int((labels == 2).sum()) + [0] * int((labels == 0).sum())


def test_precision_is_at_least_a_half() -> None:
    labels = torch.tensor([0, 0, 1])
    never = Answers(torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), labels)
    always = Answers(torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]), labels)
    assert precision_of([never], 1) == precision_of([always], 1) == LEAST
    assert precision_of([never], 0) == pytest.approx(2 / 3)
    half = Answers(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), labels)
    assert precision_of([never, half], 0) == pytest.approx(3 / 4)


# ---- the measurement -------------------------------------------------------------------------------------------------


def test_the_gain_is_what_is_computed_directly() -> None:
    generated = made_up(torch.full((36,), 2), 7)
    again = repeated(REAL, torch.tensor([0, 0, 36]), 0)
    found = measure_filled(bench(4), generated, {"oversampled": again})
    sets = {"real": REAL, "generated": together(REAL, generated), "oversampled": together(REAL, again)}
    logits = {
        name: [class_logits(images, TEST, CLASSIFIER, seed) for seed in range(4)] for name, images in sets.items()
    }
    by_real = torch.stack([values.argmax(1) == 2 for values in logits["real"]])
    kept = max(0.5, int(by_real[:, TEST.labels == 2].sum()) / int(by_real.sum()))
    recalls: dict[str, list[float]] = {}
    for name, seeds in logits.items():
        accuracy, recall, precision, at_equal = [], [], [], []
        for values in seeds:
            called = values.argmax(1)
            right = int(((called == 2) & (TEST.labels == 2)).sum())
            accuracy.append(float((called == TEST.labels).double().mean()))
            recall.append(right / 100)
            precision.append(right / max(1, int((called == 2).sum())))
            at_equal.append(naive_recall(values, TEST.labels, 2, kept))
        scores, recalls[name] = found["scores"][name], at_equal
        assert scores["accuracy"]["values"] == pytest.approx(accuracy)
        assert scores["recall"]["rare"]["values"] == pytest.approx(recall)
        assert scores["precision"]["rare"]["values"] == pytest.approx(precision)
        assert scores["equal_precision"]["values"] == pytest.approx(at_equal)
    gain = [a - b for a, b in zip(recalls["generated"], recalls["real"], strict=True)]
    assert found["gains"]["generated"]["equal_precision"]["values"] == pytest.approx(gain)
    beyond = [a - b for a, b in zip(recalls["generated"], recalls["oversampled"], strict=True)]
    assert found["beyond"]["oversampled"]["equal_precision"]["values"] == pytest.approx(beyond)
    assert found["added"] == {"rare": 36}
    assert found["classes"] == ["rare"]
    assert found["outcome"] == HELPS  # these are fresh images, where real ones are few


def test_intervals_at_equal_precision_are_over_groups_class_by_class() -> None:
    generated = made_up(torch.tensor([0] * 20 + [2] * 36), 7)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(9))  # groups are not in the order of classes
    groups = tuple(f"part {int(i) % 30}" for i in order)
    units = np.array([sorted(set(groups)).index(name) for name in groups])
    test = dataclasses.replace(TEST, groups=groups)
    found = measure_filled(bench(test=test), generated, {})["gains"]["generated"]
    sets, labels = (REAL, together(REAL, generated)), TEST.labels
    real, ours = ([Answers(class_logits(s, TEST, CLASSIFIER, seed), labels) for seed in range(3)] for s in sets)
    differences, rows = [], []
    for label in (0, 2):
        kept = precision_of(real, label)
        differences.append(
            np.stack([found_at(a, label, kept) - found_at(b, label, kept) for a, b in zip(ours, real, strict=True)])
        )
        rows.append(np.array([i for i in range(300) if int(labels[i]) == label]))
        expected = crossed_interval(differences[-1], binary=True, units=units[rows[-1]])
        assert found["equal_precision_by_class"][NAMES[label]] == expected.as_dict()
    both = [0] * 100 + [2] * 100
    expected = crossed_interval(np.hstack(differences), np.array(both), binary=True, units=units[np.concatenate(rows)])
    assert found["equal_precision"] == expected.as_dict()
    assert expected != crossed_interval(np.hstack(differences), np.array(both), binary=True)


def test_noise_does_not_help() -> None:
    noise = made_up(torch.full((36,), 0), 7)
    wrong = dataclasses.replace(noise, labels=torch.full((36,), 2))
    assert measure_filled(bench(), wrong, {})["outcome"] in (HURTS, NOT_SHOWN)


def test_an_interrupted_measurement_goes_on(tmp_path: Path) -> None:
    generated, controls = made_up(torch.full((8,), 2), 7), {"oversampled": repeated(REAL, torch.tensor([0, 0, 8]), 0)}
    expected = measure_filled(bench(2), generated, controls)
    trained: list[int] = []

    def stopping(shape: tuple[int, int, int], classes: int) -> nn.Module:
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(1)
        return linear(shape, classes)

    stopping.__qualname__ = linear.__qualname__
    settings = DownstreamSettings(2, classifier=dataclasses.replace(CLASSIFIER, network=stopping))
    with pytest.raises(KeyboardInterrupt):
        measure_filled(Downstream(REAL, TEST, settings), generated, controls, tmp_path / "kept")
    assert len(list((tmp_path / "kept").glob("*.safetensors"))) == 3
    assert measure_filled(bench(2), generated, controls, tmp_path / "kept") == expected
    assert not (tmp_path / "kept").exists()


def gains(accuracy: tuple[Any, Any], recall: tuple[Any, Any]) -> dict[str, Any]:
    return {
        name: {"low": low, "high": high}
        for name, (low, high) in zip(("accuracy", "equal_precision"), (accuracy, recall), strict=True)
    }


def test_the_rule() -> None:
    assert outcome_of(gains((-0.1, 0.1), (0.01, 0.2))) == HELPS
    assert outcome_of(gains((-0.1, 0.1), (-0.01, 0.2))) == NOT_SHOWN
    assert outcome_of(gains((-0.1, -0.01), (0.01, 0.2))) == HURTS
    assert outcome_of(gains((0.1, 0.2), (-0.2, -0.1))) == HURTS
    assert outcome_of(gains((None, None), (None, None))) == NOT_SHOWN


def test_what_can_not_be_compared_is_refused() -> None:
    generated = made_up(torch.full((8,), 2), 7)
    with pytest.raises(UserError, match="no generated images to measure"):
        measure_filled(bench(), generated.subset(torch.arange(0)), {})
    with pytest.raises(UserError, match="other numbers of 'oversampled' images"):
        measure_filled(bench(), generated, {"oversampled": generated.subset(torch.arange(7))})
    without = TEST.subset((TEST.labels != 2).nonzero().flatten())
    with pytest.raises(UserError, match="no held-out image shows rare"):
        measure_filled(bench(test=without), generated, {})
    with pytest.raises(UserError, match="differ in shape or classes"):
        measure_filled(bench(), dataclasses.replace(generated, class_names=("a", "b", "c")), {})


# ---- what costs nothing ----------------------------------------------------------------------------------------------


def test_real_images_are_repeated_evenly() -> None:
    again = repeated(REAL, torch.tensor([0, 0, 10]), 0)
    assert again.labels is not None
    assert again.labels.tolist() == [2] * 10
    times = [again.names.count(name) for name in REAL.names[80:]]
    assert sorted(times) == [2, 2, 3, 3]
    assert repeated(REAL, torch.tensor([0, 0, 10]), 0).names == again.names
    assert len(repeated(REAL, torch.zeros(3, dtype=torch.int64), 0)) == 0


def test_changed_images_keep_labels_and_change_pixels() -> None:
    again = repeated(REAL, torch.tensor([3, 0, 5]), 0)
    mirrored = changed(again, Augmentation(1.0, flip_x=1.0), 0)
    assert torch.equal(mirrored.labels, again.labels)
    same = [torch.equal(mirrored.images[i], again.images[i]) for i in range(8)]
    flipped = [torch.equal(mirrored.images[i], again.images[i].flip(-1)) for i in range(8)]
    assert all(a != b for a, b in zip(same, flipped, strict=True))
