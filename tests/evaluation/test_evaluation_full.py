"""All metrics in the evaluator, each against the function it comes from, on the evaluator's own parts."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from sadm.core.errors import UserError
from sadm.data import ImageSet
from sadm.evaluation import (
    Evaluator,
    FullEvaluation,
    GaussianFit,
    Manifold,
    MlpJudge,
    RandomConvJudge,
    frechet_distance,
    frechet_limit,
    inception_score,
    kernel_distance_interval,
    patch_gaps,
    precision_recall,
    structure_gaps,
)


def striped(count: int, seed: int = 0, labelled: bool = True) -> ImageSet:
    """Stripes whose place is the class, over noise."""
    source = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    pixels = torch.randint(0, 120, (count, 1, 6, 6), generator=source)
    for i, label in enumerate(labels.tolist()):
        pixels[i, :, label::3, :] += 100
    names = tuple(str(i) for i in range(count))
    classes = ("a", "b", "c") if labelled else ()
    return ImageSet(pixels.to(torch.uint8), labels if labelled else None, classes, names, "stripes")


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator(striped(360))


GENERATED = striped(240, seed=1)


def test_each_metric_is_what_its_function_gives(evaluator: Evaluator) -> None:
    found = evaluator.evaluate_fully(GENERATED.floats(), GENERATED.labels)
    assert list(found) == ["mlp", "pixels", "random_conv", "spatial", "patches"]
    groups = [GENERATED.subset(part) for part in torch.arange(240).split(120)]
    real, floor = evaluator.parts.reference, evaluator.parts.floor
    assert real.labels is not None
    for judge in evaluator.judges:
        metrics, reference = found[judge.name], judge.features(real)
        ours, more = [judge.features(group) for group in groups], judge.features(floor)
        for name, function in (("kid", kernel_distance_interval), ("fd_limit", frechet_limit)):
            for key, values in (("value", np.concatenate(ours)), ("real", more)):
                estimate = function(values, reference)  # type: ignore[operator]
                assert metrics[name][key] == pytest.approx(estimate.value)
                assert metrics[name][f"{key}_error"] == pytest.approx(estimate.standard_error)
        manifold = Manifold(reference)
        assert metrics["precision"]["value"] == np.mean([manifold.share_inside(x) for x in ours])
        assert metrics["recall"]["real"] == precision_recall(more, manifold).recall
        assert metrics["density"]["value"] == np.mean([manifold.density_coverage(x).density for x in ours])
        assert metrics["coverage"]["real"] == manifold.density_coverage(more).coverage
        gaps = [
            structure_gaps(x, reference, group.labels.numpy(), real.labels.numpy())  # type: ignore[union-attr]
            for x, group in zip(ours, groups, strict=True)
        ]
        for name in ("distances", "spectrum", "mixing", "classes"):
            assert metrics[f"structure_{name}"]["value"] == pytest.approx(np.mean([getattr(g, name) for g in gaps]))
        assert ("inception_score" in metrics) == isinstance(judge, MlpJudge)
        if isinstance(judge, MlpJudge):
            probabilities = np.concatenate([judge.probabilities(group) for group in groups])
            assert metrics["inception_score"]["value"] == pytest.approx(inception_score(probabilities, 2, None).mean)
        if isinstance(judge, RandomConvJudge):
            fit = GaussianFit.of(judge.spatial_features(real))
            distance = frechet_distance(GaussianFit.of(judge.spatial_features(floor)), fit)
            assert found["spatial"]["fd"]["real"] == pytest.approx(distance)
    pixels = patch_gaps(floor.floats(), real.floats(), floor.labels.numpy(), real.labels.numpy())  # type: ignore[union-attr]
    assert found["patches"]["structure_spectrum"]["real"] == pytest.approx(pixels.spectrum)
    json.dumps(found, allow_nan=False)


def test_images_without_labels_and_progress() -> None:
    evaluator = Evaluator(striped(300, labelled=False))
    seen: list[tuple[int, int]] = []
    found = evaluator.evaluate_fully(striped(100, seed=2).floats(), progress=lambda *done: seen.append(done))
    assert list(found) == ["pixels", "random_conv", "spatial", "patches"]
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert "structure_classes" not in found["pixels"]
    assert found["pixels"]["structure_distances"]["value"] > 0


def test_worse_images_score_worse_by_every_metric(evaluator: Evaluator) -> None:
    # All of one class, labelled as if they were of each.
    wrong = GENERATED.subset((torch.arange(240) * 3) % 240)
    found = evaluator.evaluate_fully(wrong.floats(), GENERATED.labels)
    for judge in evaluator.judges:
        metrics = found[judge.name]
        for name in ("structure_distances", "structure_spectrum", "structure_mixing", "structure_classes", "kid"):
            assert metrics[name]["value"] > metrics[name]["real"] + 0.01 * abs(metrics[name]["real"]), name
        assert metrics["fd_limit"]["value"] > 3 * metrics["fd_limit"]["value_error"]
        assert metrics["recall"]["value"] < metrics["recall"]["real"]
        assert metrics["coverage"]["value"] < metrics["coverage"]["real"]
    assert found["mlp"]["inception_score"]["value"] < found["mlp"]["inception_score"]["real"]
    assert found["spatial"]["fd"]["value"] > found["spatial"]["fd"]["real"]


def test_what_can_not_be_told_has_a_reason() -> None:
    few = Evaluator(striped(12))
    found = few.evaluate_fully(few.parts.floor.floats(), few.parts.floor.labels)
    assert "no line over 1 / N" in found["pixels"]["fd_limit"]["reason"]
    assert found["pixels"]["kid"]["value_error"] >= 0
    json.dumps(found, allow_nan=False)


def test_a_judge_that_sees_nothing_stops_none_of_the_others() -> None:
    class Blind:
        name, title, kind, decides = "blind", "nothing", "label-free", False

        def features(self, images: ImageSet) -> np.ndarray:
            return np.ones((len(images), 3))

    real, floor = striped(60), striped(60, seed=5)
    found = FullEvaluation([Blind(), RandomConvJudge(1)], real, floor).evaluate([striped(60, seed=6)])
    assert "all 60 real images have the same features" in found["blind"]["structure"]["reason"]
    assert found["blind"]["kid"]["value"] == pytest.approx(0)
    assert found["blind"]["fd_limit"]["value"] == pytest.approx(0)
    assert (found["blind"]["precision"]["value"], found["blind"]["coverage"]["real"]) == (1, 1)
    assert found["random_conv"]["structure_mixing"]["value"] < 0.5
    json.dumps(found, allow_nan=False)


def test_another_number_of_images_is_refused(evaluator: Evaluator) -> None:
    with pytest.raises(UserError, match="multiple of 120 images"):
        evaluator.evaluate_fully(GENERATED.floats()[:100])
    with pytest.raises(UserError, match="multiple of 120 images"):
        evaluator.evaluate_fully(torch.zeros(120, 3, 6, 6))
