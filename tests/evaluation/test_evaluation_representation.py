"""Probes on a denoiser's features: what is plainly there is found, what is not is not; corruptions; refusals."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from sadm.core.errors import UserError
from sadm.data import ImageSet, to_uint8
from sadm.evaluation.representation import CORRUPTIONS, Activations, blocks_of, measure_representation
from sadm.evaluation.representation.corruptions import BLUR, CONTRAST
from sadm.training.config import load_train_config
from sadm.training.spec import spec_for

NAMES = ("a", "b", "c")


class Shows(nn.Module):
    """A block whose tokens show the class of an image as far as noise allows: its brightness, in some corner of its features."""

    def __init__(self, plain: bool) -> None:
        super().__init__()
        self.plain = plain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value = x.mean((1, 2, 3))[:, None, None].expand(-1, 4, 1)  # [B, T, 1]
        far = torch.cat([(value + 1 / 3).abs(), (value - 1 / 3).abs(), value], dim=2)
        hidden = torch.sin(200 * x.flatten(1)[:, :12].reshape(-1, 4, 3))  # of no use
        return far if self.plain else hidden


class Toy(nn.Module):
    """A denoiser of two blocks, one of which tells classes apart."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Shows(False), Shows(True)])

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, cond: Any) -> torch.Tensor:
        assert cond.label is None  # or it would know the class
        for block in self.blocks:
            block(x)
        return x


def bright(count: int, seed: int) -> ImageSet:
    """Images of three brightnesses, with some noise."""
    labels = torch.arange(count) % 3
    noise = 0.1 * torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    images = to_uint8((2 / 3 * (labels - 1.0))[:, None, None, None] + noise)
    return ImageSet(images, labels, NAMES, tuple(map(str, range(count))), "made up")


def toy() -> Activations:
    return Activations(Toy().eval(), ["blocks.0", "blocks.1"])


def test_features_that_separate_classes_are_found_and_judged_perfect() -> None:
    found = measure_representation(toy(), bright(90, 1), bright(60, 2), sigmas=(0.05, 20.0))
    for probe in ("linear", "knn"):
        assert (found[probe]["block"], found[probe]["sigma"]) == ("blocks.1", 0.05)
        assert found[probe]["clean"]["accuracy"] == 1
        assert 0.9 < found[probe]["clean"]["low"] < found[probe]["clean"]["high"] == 1
        assert found[probe]["shift"]["accuracy"] > 0.95  # a brightness does not move
        assert found[probe]["contrast"]["accuracy"] > 0.95  # nor does this corruption change it
    useless = [c for c in found["candidates"] if c["block"] == "blocks.0" or c["sigma"] == 20.0]
    assert len(useless) == 3
    assert all(candidate["linear"] < 0.75 for candidate in useless)
    assert found["pixels"]["linear"]["clean"]["accuracy"] == 1


def test_features_that_show_nothing_score_as_guessing_does() -> None:
    blind = Activations(Toy().eval(), ["blocks.0"])
    found = measure_representation(blind, bright(150, 1), bright(150, 2), sigmas=(0.15,))
    assert found["linear"]["clean"]["low"] < 1 / 3 < found["linear"]["clean"]["high"] + 0.1


def test_it_is_the_same_twice_and_whatever_the_batch() -> None:
    torch.manual_seed(0)
    first = measure_representation(toy(), bright(60, 1), bright(30, 2), sigmas=(0.15, 0.4))
    torch.manual_seed(1)
    assert measure_representation(toy(), bright(60, 1), bright(30, 2), sigmas=(0.15, 0.4)) == first
    images = bright(300, 1).floats()
    whole, part = (toy().of(x, 0.15, "test")["blocks.1"] for x in (images, images[:10]))
    assert np.allclose(whole[:10], part)
    assert not np.allclose(toy().of(images[:10], 0.15, "learn")["blocks.1"], part)  # other noise


def test_latents_are_what_a_model_of_latents_looks_at() -> None:
    seen: list[tuple[int, ...]] = []

    def encode(images: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(images.shape[1:]))
        return images[:, :, ::2, ::2]

    denoiser = Toy().eval()
    denoiser.blocks[1].register_forward_hook(lambda module, inputs, output: seen.append(tuple(inputs[0].shape[1:])))
    Activations(denoiser, ["blocks.1"], encode).of(bright(3, 1).floats(), 0.1, "test")
    assert seen == [(1, 8, 8), (1, 4, 4)]


@pytest.mark.parametrize("kind", ["edm", "vp", "flow"])
def test_every_process_has_features(kind: str) -> None:
    net = {"patch": 4, "width": 16, "depth": 5, "heads": 2}
    config = load_train_config(overrides={"process": {"kind": kind}, "net": net})
    denoiser = spec_for(bright(30, 1), config.net, config.process).build().eval()
    names = blocks_of(denoiser)
    assert names == [f"net.blocks.{place}" for place in (1, 2, 3, 4)]
    found = Activations(denoiser, names).of(bright(7, 1).floats(), 0.15, "test")
    assert {values.shape for values in found.values()} == {(7, 16)}
    assert all(np.isfinite(values).all() for values in found.values())


def test_blocks_are_spread_over_the_depth() -> None:
    def names(depth: int) -> list[str]:
        return blocks_of(nn.ModuleDict({"blocks": nn.ModuleList(nn.Identity() for _ in range(depth))}))

    assert names(1) == ["blocks.0"]
    assert names(3) == ["blocks.0", "blocks.1", "blocks.2"]
    assert names(12) == ["blocks.2", "blocks.5", "blocks.8", "blocks.11"]
    with pytest.raises(UserError, match="a Linear has no list of blocks"):
        blocks_of(nn.Linear(1, 1))


# ---- corruptions -----------------------------------------------------------------------------------------------------


def test_corruptions_do_what_their_names_say() -> None:
    x = 1.8 * torch.rand(3, 2, 16, 24, generator=torch.Generator().manual_seed(0)) - 0.9
    found = {name: corrupt(x) for name, corrupt in CORRUPTIONS.items()}
    assert torch.equal(found["clean"], x)
    for name, images in found.items():
        assert images.shape == x.shape, name
        assert images.abs().max() <= 1, name
    widths = (0, 0, BLUR * 16, BLUR * 24)
    expected = ndimage.gaussian_filter(x.numpy(), widths, mode="nearest", truncate=3)
    assert np.abs(found["blur"].numpy() - expected).max() < 2e-2  # scipy rounds the reach otherwise
    assert torch.allclose(found["shift"][:, :, 2:, 3:], x[:, :, :-2, :-3])
    assert torch.equal(found["shift"][:, :, 0, 3:], x[:, :, 0, :-3])
    assert found["contrast"].flatten(1).mean(1) == pytest.approx(x.flatten(1).mean(1), abs=1e-6)
    assert found["contrast"].flatten(1).std(1) == pytest.approx(CONTRAST * x.flatten(1).std(1))
    assert 0.2 < float((found["noise"] - x).std()) < 0.31
    assert torch.equal(CORRUPTIONS["noise"](x), found["noise"])


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_what_can_not_be_probed_is_refused() -> None:
    unlabelled = dataclasses.replace(bright(30, 1), labels=None, class_names=())
    with pytest.raises(UserError, match="made up has no labels"):
        measure_representation(toy(), unlabelled, bright(30, 2))
    one = dataclasses.replace(bright(30, 1), labels=torch.zeros(30, dtype=torch.int64))
    with pytest.raises(UserError, match="show only 'a'; at least two classes are needed"):
        measure_representation(toy(), one, bright(30, 2))
    broken = Toy().eval()
    broken.blocks[1].register_forward_hook(lambda module, inputs, output: output * torch.nan)
    with pytest.raises(UserError, match="features hold NaN or infinity: the model has diverged"):
        measure_representation(Activations(broken, ["blocks.1"]), bright(30, 1), bright(30, 2))
