"""Networks as judges: what they score is what their features, computed by hand, score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import nn

from sadm.core.errors import UserError
from sadm.data import ImageSet
from sadm.evaluation import (
    Evaluator,
    Extractor,
    GaussianFit,
    InceptionJudge,
    NetworkJudge,
    frechet_distance,
    inception_score,
    kernel_distance,
    network_judges,
    spatial_features,
)
from sadm.evaluation.features import InceptionV3, identity_of


def image_set(count: int, seed: int = 0) -> ImageSet:
    draws = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, 6, 6), dtype=torch.uint8, generator=draws)
    return ImageSet(pixels, torch.arange(count) % 3, ("a", "b", "c"), tuple(map(str, range(count))), "made up")


def mine() -> nn.Module:
    """What ``python:`` names in a test."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 36, 4))


def test_a_network_joins_the_judges_and_decides() -> None:
    held_out = image_set(60)
    evaluator = Evaluator(held_out, network_judges([f"python:{__name__}:mine"], "cpu"))
    name = f"python:{__name__}:mine"
    assert [judge.name for judge in evaluator.judges] == ["mlp", "pixels", "random_conv", name]
    facts = evaluator.describe()[name]
    assert (facts["dim"], facts["decides"], facts["learned_from"]) == (4, True, "unknown")
    assert {fact["learned_from"] for fact in evaluator.describe().values()} == {
        "held-out images",
        "no images",
        "unknown",
    }

    def by_hand(images: ImageSet) -> np.ndarray:
        with torch.no_grad():
            return mine()(images.floats().expand(-1, 3, -1, -1)).double().numpy()

    floor, reference = by_hand(evaluator.parts.floor), by_hand(evaluator.parts.reference)
    assert evaluator.floor[name] == pytest.approx(
        frechet_distance(GaussianFit.of(floor), GaussianFit.of(reference)), rel=1e-4
    )
    generated = image_set(20, seed=5)
    found = evaluator.evaluate(generated.floats())
    expected = frechet_distance(GaussianFit.of(by_hand(generated)), GaussianFit.of(reference))
    assert found.fd[name] == pytest.approx(expected, rel=1e-4)
    assert found.kid[name] == pytest.approx(kernel_distance(by_hand(generated), reference), rel=1e-4, abs=1e-6)


def test_two_judges_of_one_name_are_refused() -> None:
    name = f"python:{__name__}:mine"
    with pytest.raises(UserError, match=r"two judges are called 'python:\w+:mine' .* give one of them"):
        network_judges([name, name], "cpu")


def test_inception_also_scores_classes_and_places(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = InceptionV3().eval()
    extractor = Extractor("inception", "FID's", network, identity_of(network), torch.device("cpu"), published=True)
    judge = InceptionJudge(extractor, tmp_path)
    evaluator = Evaluator(image_set(15), [judge])
    generated = image_set(5, seed=5)
    full = evaluator.evaluate_fully(generated.floats())
    with torch.no_grad():
        ours, real = (network(part.images.expand(-1, 3, -1, -1)) for part in (generated, evaluator.parts.reference))
    maps = [GaussianFit.of(spatial_features(given["spatial"].numpy())) for given in (ours, real)]
    assert full["spatial_inception"]["fd"]["value"] == pytest.approx(frechet_distance(*maps), rel=1e-3)
    chances = softmax(ours["logits"].double().numpy(), axis=1)
    score = full["inception"]["inception_score"]["value"]
    assert score == pytest.approx(inception_score(chances, 1, None).mean, rel=1e-4)
    assert judge.learned_from == "other images"
    assert {"spatial", "spatial_inception", "patches"} <= full.keys()


def test_features_of_images_are_kept_as_long_as_the_images_are() -> None:
    calls = []

    class Counted(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            calls.append(len(pixels))
            return pixels.float().mean((2, 3))

    judge = NetworkJudge(Extractor("counted", "", Counted(), "counted", torch.device("cpu")))
    images = image_set(5)
    assert np.array_equal(judge.features(images), judge.features(images))
    judge.features(images.subset(torch.arange(3)))
    assert calls == [5, 3]
