"""Downstream gain on made-up images, where the truth is known; determinism, resuming, refusals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data import ImageSet, to_uint8
from sadm.evaluation.downstream import ClassifierSettings, Downstream, DownstreamSettings, class_logits, small_network
from sadm.evaluation.downstream.classifier import steps_for
from sadm.evaluation.downstream.mixing import labels_to_draw, mixed, mixes, together

CLASSES, SPREAD, REAL = 4, 0.3, 96
NAMES = ("a", "b", "c", "d")
PATTERNS = 0.25 * nn.functional.interpolate(
    torch.randn(CLASSES, 1, 4, 4, generator=torch.Generator().manual_seed(0)), size=8, mode="bilinear"
)


def fresh(labels: torch.Tensor, seed: int) -> torch.Tensor:
    """Images of the classes, as often as one likes: a pattern in noise."""
    noise = torch.randn(len(labels), 1, 8, 8, generator=generator(seed, "made up"))
    return (PATTERNS[labels] + SPREAD * noise).clamp(-1, 1)


def made_up(count: int, seed: int, labels: torch.Tensor | None = None) -> ImageSet:
    kinds = torch.arange(count) % CLASSES if labels is None else labels
    return ImageSet(to_uint8(fresh(kinds, seed)), kinds, NAMES, tuple(f"image {i}" for i in range(count)), "made up")


def linear(shape: tuple[int, int, int], classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))


def settings(seeds: int = 4, steps: int = 200, **change: Any) -> DownstreamSettings:
    classifier = ClassifierSettings(steps, 32, 1e-2, shift=0.0, network=linear)
    return DownstreamSettings(seeds, classifier=classifier, **change)


@pytest.fixture(scope="module")
def bench() -> Downstream:
    """Classifiers on real images, for all generators of this file."""
    return Downstream(made_up(REAL, 1), made_up(2000, 2), settings())


# ---- truths ----------------------------------------------------------------------------------------------------------


def test_fresh_real_images_are_worth_as_many_real_images(bench: Downstream) -> None:
    found = bench.measure(fresh)
    for share in (1, 2):
        gain, worth = found["gains"][f"with_{share}x"], found["worth"][f"with_{share}x"]["accuracy"]
        assert gain["accuracy"]["low"] > 0
        assert gain["balanced_accuracy"]["low"] > 0
        assert gain["log_loss"]["low"] > 0
        assert worth["outcome"] == "gain"
        assert worth["low"] < share * REAL < worth["high"]
        assert 0.5 * share * REAL < worth["images"] < 2 * share * REAL
        by_loss = found["worth"][f"with_{share}x"]["log_loss"]
        assert 0 < by_loss["low"] < share * REAL < by_loss["high"]
    assert found["outcome"] == "gain"
    twice = Downstream(made_up(2 * REAL, 1), made_up(2000, 2), settings(fractions=(0.5,))).real()[2 * REAL]
    expected = sum(answers.score("accuracy") for answers in twice) / len(twice)
    assert found["scores"]["with_1x"]["accuracy"]["mean"] == pytest.approx(expected, abs=0.01)
    curve = [point["accuracy"]["mean"] for point in found["curve"]]
    assert [point["real_images"] for point in found["curve"]] == [24, 48, 72, 96]
    assert curve == sorted(curve)
    assert found["scores"]["real"]["accuracy"]["mean"] == curve[-1]


def test_images_with_shuffled_labels_do_harm(bench: Downstream) -> None:
    found = bench.measure(
        lambda labels, seed: fresh(labels[torch.randperm(len(labels), generator=generator(seed))], seed)
    )
    assert found["gains"]["with_1x"]["accuracy"]["high"] < 0
    assert found["gains"]["with_2x"]["log_loss"]["high"] < 0
    assert found["worth"]["with_1x"]["accuracy"]["outcome"] == "harm"
    assert found["worth"]["with_1x"]["accuracy"]["high"] < 0
    assert found["scores"]["generated_alone"]["accuracy"]["mean"] == pytest.approx(1 / CLASSES, abs=0.1)


def test_one_grey_for_all_does_not_help(bench: Downstream) -> None:
    found = bench.measure(lambda labels, seed: torch.zeros(len(labels), 1, 8, 8))
    assert found["gains"]["with_1x"]["accuracy"]["low"] < 0
    assert found["outcome"] in ("undecided", "none")
    assert found["worth"]["with_1x"]["accuracy"]["low"] <= 0
    assert found["worth"]["with_1x"]["accuracy"]["images"] < 0.2 * REAL


def test_a_class_that_generated_images_fill_up_gains_most() -> None:
    rare = torch.tensor([*[0] * 60, *[1] * 60, *[2] * 60, *[3] * 6])
    found = Downstream(made_up(186, 1, rare), made_up(1000, 2), settings(3)).measure(fresh)
    assert found["scores"]["filled"]["generated_images"] == 54
    recall = {name: gain["mean"] for name, gain in found["gains"]["filled"]["recall"].items()}
    assert max(recall, key=lambda name: recall[name]) == "d"
    assert found["gains"]["filled"]["recall"]["d"]["low"] > 0
    assert found["gains"]["filled"]["balanced_accuracy"]["low"] > 0
    assert found["classes"]["d"] == {"training_images": 6, "held_out_images": 250}


def test_gains_are_differences_seed_by_seed(bench: Downstream) -> None:
    found = bench.measure(fresh)
    for metric, sign in (("accuracy", 1), ("balanced_accuracy", 1), ("log_loss", -1)):
        ours, real = (found["scores"][name][metric]["values"] for name in ("with_2x", "real"))
        expected = [sign * (a - b) for a, b in zip(ours, real, strict=True)]
        assert found["gains"]["with_2x"][metric]["values"] == pytest.approx(expected)
    recall = [found["gains"]["with_1x"]["recall"][name]["mean"] for name in NAMES]
    assert found["gains"]["with_1x"]["balanced_accuracy"]["mean"] == pytest.approx(sum(recall) / CLASSES)


def test_copies_of_test_images_in_groups_make_no_interval_narrower() -> None:
    """Five copies of each test image: where they are said to be groups, the gain is as sure as without them."""
    test = made_up(40, 2)
    names = tuple(f"copy {i}" for i in range(200))
    copies = dataclasses.replace(test.subset(torch.arange(40).repeat(5)), names=names)
    grouped = dataclasses.replace(copies, groups=tuple(f"part {i % 40}" for i in range(200)))
    found = {
        name: Downstream(made_up(40, 1), images, settings(3, steps=20)).measure(fresh)["gains"]["with_1x"]["log_loss"]
        for name, images in (("single", test), ("copies", copies), ("grouped", grouped))
    }
    for bound in ("mean", "low", "high"):
        assert found["grouped"][bound] == pytest.approx(found["single"][bound], rel=1e-4)
    assert found["copies"]["high"] != pytest.approx(
        found["single"]["high"], rel=1e-2
    )  # nobody said that they are copies


# ---- what classifiers get --------------------------------------------------------------------------------------------


def test_mixes_have_the_numbers_that_their_names_say() -> None:
    labels = torch.tensor([0] * 10 + [1] * 4 + [3] * 2)
    found = mixes(labels, CLASSES, (1, 3))
    assert {name: mix.generated.tolist() for name, mix in found.items()} == {
        "with_1x": [10, 4, 0, 2],
        "with_3x": [30, 12, 0, 6],
        "filled": [0, 6, 0, 8],
        "generated_alone": [10, 4, 0, 2],
    }
    drawn = labels_to_draw(found)
    assert drawn.bincount(minlength=CLASSES).tolist() == [30, 12, 0, 8]
    assert "filled" not in mixes(torch.arange(40) % 4, CLASSES, (1,))
    real, generated = made_up(16, 1, labels), made_up(50, 2, drawn)
    for name, mix in found.items():
        images = mixed(real, generated, mix, seed=0)
        expected = mix.generated + (labels.bincount(minlength=CLASSES) if mix.real else 0)
        assert images.labels.bincount(minlength=CLASSES).tolist() == expected.tolist(), name
    first, other = (mixed(real, generated, found["with_1x"], seed) for seed in (0, 1))
    assert first.names[:16] == other.names[:16]
    assert set(first.names[16:]) != set(other.names[16:])


def test_windows_are_drawn_from_real_images_alone() -> None:
    from sadm.data.ragged import Ragged

    real = dataclasses.replace(made_up(4, 1), uncropped=Ragged.of([torch.zeros(1, 12, 10, dtype=torch.uint8)] * 4))
    joined = together(real, made_up(3, 2))
    assert joined.uncropped is not None
    assert joined.uncropped.sizes.tolist() == [[12, 10]] * 4 + [[8, 8]] * 3
    assert torch.equal(joined.uncropped[5], joined.images[5])


def test_every_classifier_makes_the_same_number_of_steps() -> None:
    calls: list[int] = []

    def counting(shape: tuple[int, int, int], classes: int) -> nn.Module:
        network = linear(shape, classes)
        network.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
        return network

    chosen = ClassifierSettings(7, 8, network=counting)
    for count in (8, 50):
        calls.clear()
        class_logits(made_up(count, 1), made_up(8, 2), chosen, 0)
        assert calls == [8] * 7 + [8]  # steps, and the test images
    assert [steps_for(n) for n in (10, 1000, 10**6)] == [300, 500, 3000]


def test_the_small_network_takes_images_of_any_size() -> None:
    for shape in ((1, 4, 4), (1, 8, 8), (3, 28, 28), (3, 64, 48), (4, 256, 256)):
        network = small_network(shape, 5)
        assert network(torch.zeros(2, *shape)).shape == (2, 5)


def test_the_small_network_learns_the_digits() -> None:
    from sadm.data import load_split

    split = load_split("digits", held_out=0.4)
    logits = class_logits(split.train, split.held_out, ClassifierSettings(300), 0)
    assert float((logits.argmax(1) == split.held_out.labels).float().mean()) > 0.95


# ---- determinism and resuming ----------------------------------------------------------------------------------------


class Draws:
    """Draws fresh images, and counts how often."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.calls, self.stop_after = 0, stop_after

    def __call__(self, labels: torch.Tensor, seed: int) -> torch.Tensor:
        if self.calls == self.stop_after:
            raise KeyboardInterrupt
        self.calls += 1
        return fresh(labels, seed)


def small(folder: Path | None = None, network: Callable[..., nn.Module] = linear) -> Downstream:
    chosen = settings(2, steps=10)
    classifier = dataclasses.replace(chosen.classifier, network=network)  # type: ignore[type-var]
    return Downstream(
        made_up(600, 1), made_up(40, 2), dataclasses.replace(chosen, classifier=classifier), folder=folder
    )


def test_equal_seeds_give_equal_numbers_whatever_else_is_random() -> None:
    torch.manual_seed(1)
    first = small().measure(fresh)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert small().measure(fresh) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert small().measure(fresh, seed=1) != first


def test_an_interrupted_measurement_goes_on(tmp_path: Path) -> None:
    expected, folders = small().measure(fresh), (tmp_path / "real", tmp_path / "generated")
    draws = Draws(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        small(folders[0]).measure(draws, folder=folders[1])
    kept = sorted(path.name for path in folders[1].iterdir())
    assert kept == ["about.json", "drawn-0.safetensors"]
    trained: list[int] = []

    def counted(shape: tuple[int, int, int], classes: int) -> nn.Module:
        trained.append(1)
        return linear(shape, classes)

    counted.__qualname__ = linear.__qualname__
    again = Draws()
    assert small(folders[0], counted).measure(again, folder=folders[1]) == expected
    assert again.calls == 1  # the second part of 1,200
    assert len(trained) == 3 * 2  # with generated images; those on real ones were there
    assert not folders[1].exists()
    assert len(list(folders[0].glob("real-*.safetensors"))) == 4 * 2


def test_what_is_kept_of_another_measurement_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        small().measure(Draws(stop_after=1), folder=tmp_path / "generated", about={"weights": "old"})
    draws = Draws()
    small().measure(draws, folder=tmp_path / "generated", about={"weights": "new"})
    assert draws.calls == 2


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    first = small(tmp_path).measure(fresh)
    (tmp_path / "real-600-0.safetensors").write_bytes(b"half a fi")
    assert small(tmp_path).measure(fresh) == first


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_images_that_no_classifier_can_be_trained_on_are_refused() -> None:
    good, test = made_up(16, 1), made_up(16, 2)
    unlabelled = dataclasses.replace(good, labels=None, class_names=())
    with pytest.raises(UserError, match="made up has no labels, so no classifier can be trained on it"):
        Downstream(unlabelled, test)
    one = made_up(16, 1, torch.full((16,), 2))
    with pytest.raises(UserError, match="the training images of made up .* show only 'c'; at least two"):
        Downstream(one, test)
    with pytest.raises(UserError, match="the held-out images of made up .* show only 'c'; at least two"):
        Downstream(good, one)
    with pytest.raises(UserError, match="7 training images are too few for a classifier; at least 8"):
        Downstream(made_up(7, 1), test)
    with pytest.raises(UserError, match="at least one seed and shares of at least 1, got 0"):
        DownstreamSettings(seeds=0)
    with pytest.raises(UserError, match="fractions of the real images must lie between 0 and 1"):
        DownstreamSettings(fractions=(0.5, 1.0))


def test_a_class_without_held_out_images_is_not_judged() -> None:
    found = Downstream(made_up(40, 1), made_up(30, 2, torch.arange(30) % 3), settings(2, steps=20)).measure(fresh)
    assert found["gains"]["with_1x"]["recall"]["d"] is None
    assert found["scores"]["real"]["recall"]["d"] is None
    assert found["classes"]["d"]["held_out_images"] == 0


def test_generated_images_of_another_kind_are_refused() -> None:
    with pytest.raises(UserError, match="NaN or infinite"):
        small().measure(lambda labels, seed: torch.full((len(labels), 1, 8, 8), torch.nan))
    with pytest.raises(UserError, match=r"generated images have shape \(1, 4, 4\); real ones \(1, 8, 8\)"):
        small().measure(lambda labels, seed: torch.zeros(len(labels), 1, 4, 4))
