"""Structure that is known of the images: affinities by hand, a game that is held to them, and what the configuration refuses."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from signal_steps import made_up

from sadm.core.errors import UserError
from sadm.core.progress import Silent
from sadm.data import ImageSet
from sadm.signals import OfAttributes, StructureSignal, of_classes
from sadm.structure import ConvEncoder, StructureGame
from sadm.training.config import StructureConfig, TrainConfig, load_train_config
from sadm.training.journal import read_metrics
from sadm.training.known_structure import known_structure
from sadm.training.run import train

ATTRIBUTES = torch.tensor([[0.0, 10.0], [1.0, 10.0], [4.0, 30.0], [1.0, 20.0], [2.0, 0.0], [0.0, 0.0]])


def images(labels: bool = True, attributes: torch.Tensor | None = ATTRIBUTES) -> ImageSet:
    pixels = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    known = {} if attributes is None else {"attributes": attributes, "attribute_names": ("depth", "age")}
    return ImageSet(
        pixels,
        torch.tensor([0, 1, 1, 0, 0, 1]) if labels else None,
        ("a", "b") if labels else (),
        tuple("012345"),
        "made up",
        **known,
    )


def test_affinities_by_hand() -> None:
    denoised, _ = made_up(batch=3)
    denoised = dataclasses.replace(denoised, label=torch.tensor([4, 1, 4]), place=torch.tensor([2, 0, 5]))
    assert of_classes(denoised).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    values = [[float(v) for v in row] for row in ATTRIBUTES[[2, 0, 5]]]
    expected = [[math.exp(-sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / 18) for b in values] for a in values]
    torch.testing.assert_close(OfAttributes(ATTRIBUTES, 3.0)(denoised), torch.tensor(expected))


def test_values_are_in_standard_deviations() -> None:
    known = known_structure(images(), StructureConfig(target="attributes", target_bandwidth=2.0))
    assert isinstance(known, OfAttributes)
    torch.testing.assert_close(known.values.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(known.values.std(0, correction=0), torch.ones(2))
    assert known.bandwidth == 2.0
    assert known_structure(images(), StructureConfig()) is None
    assert known_structure(images(), StructureConfig(target="labels")) is of_classes


def test_the_game_is_held_to_what_is_known() -> None:
    denoised, g_dsm = made_up(batch=5)
    denoised = dataclasses.replace(denoised, label=torch.tensor([0, 0, 1, 2, 1]))
    encoder = ConvEncoder(denoised.x0.shape[1], width=4)

    def game() -> StructureGame:
        return StructureGame(encoder, adversary="frozen", fraction=1.0)

    found = StructureSignal(game(), known=of_classes)(denoised, g_dsm).gradient
    target = (denoised.label[:, None] == denoised.label[None, :]).float()
    play = game().play(denoised.x0, denoised.x0_hat, denoised.sigma, g_dsm, target=target)
    torch.testing.assert_close(found, play.gradient)
    assert not torch.allclose(found, StructureSignal(game())(denoised, g_dsm).gradient)


@pytest.mark.parametrize(
    ("given", "target", "message"),
    [
        (images(labels=False), "labels", "structure.target 'labels' needs images of at least two classes"),
        (images(attributes=None), "attributes", "needs numbers that are known of the images, but made up has none"),
        (images(attributes=ATTRIBUTES.clone().fill_diagonal_(math.nan)), "attributes", "2 images that lack one"),
    ],
)
def test_images_of_which_nothing_is_known_are_refused(given: ImageSet, target: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        known_structure(given, StructureConfig(target=target))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signal": "hidden"}, "is an option of signal 'structure', got 'hidden'"),
        ({"structure": {"adversary": "classify"}}, "goes with adversary 'ascend' or 'frozen' and without a memory"),
        ({"structure": {"memory": 8}}, "goes with adversary 'ascend' or 'frozen' and without a memory"),
        ({"structure": {"relation": "angles"}}, "structure.relation must be 'cosine' or 'rbf', got 'angles'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(change: dict, message: str) -> None:
    asked = {"signal": "structure", **change, "structure": {"target": "labels", **change.get("structure", {})}}
    with pytest.raises(UserError, match=message):
        load_train_config("digits", overrides=asked)


@pytest.mark.parametrize("target", ["labels", "attributes"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_training_of_flipped_images_is_held_to_it(tmp_path: Path, target: str, accumulate: int) -> None:
    change = {
        "data": {"source": "surfaces:count=40,size=16", "flip": True},
        "net": {"patch": 4, "width": 16, "depth": 1, "heads": 2},
        "signal": "structure",
        "structure": {"target": target, "encoder_steps": 2, "encoder_width": 4, "fraction": 1.0},
        "optimiser": {"steps": 3, "batch": 8},
        "parallel": {"accumulate": accumulate},
        "log": {"samples": 0, "every": 1},
    }
    train(TrainConfig.model_validate({**change, "device": "cpu"}), tmp_path / "run", Silent())
    gaps = [row["gap"] for row in read_metrics(tmp_path / "run")]
    assert len(gaps) == 3
    assert all(0 < gap < 4 for gap in gaps)
