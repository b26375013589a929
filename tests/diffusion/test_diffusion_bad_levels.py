"""What a denoiser, its guidance and a density refuse: noise levels, null classes and labels that make no sense."""

from __future__ import annotations

import math

import pytest
import torch

from sadm.core.conditions import Cond
from sadm.diffusion import (
    EDMDenoiser,
    FlowDenoiser,
    LogitNormalTime,
    LogNormalSigma,
    SamplerSettings,
    generate,
    image_seeds,
)
from sadm.models import DiT

SHAPE = (1, 8, 8)


def net(classes: int) -> DiT:
    return DiT(SHAPE, patch=4, width=32, depth=1, heads=2, num_classes=classes)


@pytest.mark.parametrize("kind", [EDMDenoiser, FlowDenoiser])
@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_noise_levels_out_of_range_are_refused(kind, bad: float) -> None:
    x = torch.zeros(2, *SHAPE)
    with pytest.raises(ValueError, match="noise levels sigma must be above 0 and finite, got "):
        kind(net(0))(x, torch.tensor([1.0, bad]), Cond())
    assert kind(net(0))(x, torch.tensor([1.0, 1e-3]), Cond()).isfinite().all()


@pytest.mark.parametrize("t", [1.5, -0.5, math.nan, torch.tensor([0.5, 1.01])])
def test_times_off_the_line_are_refused(t) -> None:
    x = torch.zeros(2, *SHAPE)
    with pytest.raises(ValueError, match="times must be at least 0 and at most 1, got "):
        FlowDenoiser(net(0)).at(x, t, Cond())
    assert FlowDenoiser(net(0)).at(x, 1.0, Cond()).isfinite().all()


def draw(classes: int, labels: list[int] | None, null: int | None, scale: float) -> torch.Tensor:
    given = None if labels is None else torch.tensor(labels)
    settings = SamplerSettings(guidance_scale=scale, steps=2)
    return generate(EDMDenoiser(net(classes)).eval(), SHAPE, image_seeds(0, 2), given, null, settings)


@pytest.mark.parametrize(
    ("classes", "labels", "null", "scale", "message"),
    [
        (0, [0, 1], 3, 2.0, "needs a network with classes; this one has no null class"),
        (0, [0, 1], None, 2.0, "needs a network with classes; this one has no null class"),
        (3, [0, 1], 2, 2.0, "null_label 2 is not this network's null class, which is 3"),
        (3, None, 3, 2.0, "guidance_scale 2.0 needs a label for each image"),
        (3, [0, 7], 3, 1.0, "labels must lie in 0 to 2, or be 3, the null class; got 0 to 7"),
        (3, [-1, 0], 3, 1.0, "labels must lie in 0 to 2, or be 3, the null class; got -1 to 0"),
        (3, [0, 1], 3, math.nan, "guidance_scale must be finite, got nan"),
    ],
)
def test_guidance_that_would_guide_nothing_and_labels_without_a_class_are_refused(
    classes, labels, null, scale, message
) -> None:
    with pytest.raises(ValueError, match=message):
        draw(classes, labels, null, scale)


def test_the_null_class_may_be_asked_for() -> None:
    assert torch.equal(draw(3, [3, 3], 3, 1.0), draw(3, None, 3, 1.0))


@pytest.mark.parametrize("density", [LogNormalSigma, LogitNormalTime])
@pytest.mark.parametrize(("mean", "std"), [(0.0, -1.0), (0.0, 0.0), (math.nan, 1.0), (0.0, math.inf)])
def test_densities_that_are_none_are_refused(density, mean: float, std: float) -> None:
    with pytest.raises(ValueError, match="expected a finite mean and a standard deviation above 0"):
        density(mean, std)
