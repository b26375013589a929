"""Variations, the way from images to noise and back, and mixes of classes."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from diffusion_nets import GaussianOnPath, Net, as_images, normal
from torch import nn

from sadm.core.conditions import Cond
from sadm.diffusion import (
    ClassifierFreeGuidance,
    EDMDenoiser,
    FlowDenoiser,
    Path,
    SamplerSettings,
    StraightLine,
    VarianceExploding,
    VariancePreserving,
    VPDenoiser,
    VPSchedule,
    generate,
    heun,
    image_seeds,
    karras_sigmas,
    sampling_times,
)
from sadm.diffusion.class_mix import ClassMix
from sadm.diffusion.editing import later_times, standing_at, vary_images
from sadm.diffusion.inpaint import inpaint_images
from sadm.diffusion.inversion import encode, interpolate_images, inversion_settings, spherical
from sadm.diffusion.operators import Averaging
from sadm.diffusion.restore import restore_images

PATHS = [VarianceExploding(), VariancePreserving(), StraightLine()]
MEAN, SPREAD = 0.3, 0.5  # of GaussianOnPath
SETTINGS = SamplerSettings(steps=6, batch=2)


class Classes(nn.Module):
    """A network whose answer is its own for each class."""

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor, cond: Cond) -> torch.Tensor:
        assert cond.label is not None
        return torch.tanh(x * as_images(1.0 + cond.label.to(x)))


class Known(Classes):
    """One that says how many classes it knows."""

    null_label = 3


# ---- strength ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("strength", "steps"), [(1.0, 6), (0.5, 3), (0.25, 2), (0.01, 1)])
def test_a_strength_is_the_share_of_steps_that_is_taken(strength: float, steps: int) -> None:
    times = karras_sigmas(6)
    assert torch.equal(later_times(times, strength), times[-steps - 1 :])


@pytest.mark.parametrize("strength", [0.0, -0.1, 1.01, math.nan])
def test_strengths_out_of_range_are_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="a strength is above 0 and at most 1, got"):
        later_times(karras_sigmas(6), strength)


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_solvers_start_from_the_noised_image(path: Path) -> None:
    """The flow from z at a time in the middle, known in closed form for Gaussian data."""
    time, images, noise = path.time(0.8), normal(1), normal(2)
    times = torch.cat([torch.linspace(time, 0.05 * time, 200, dtype=torch.float64)])
    found = heun(GaussianOnPath(path), standing_at(images, noise, path, time), times, Cond(), path)
    z, there = path.alpha(time) * images + path.beta(time) * noise, float(times[-1])

    def spread(t: float) -> float:
        return math.hypot(path.alpha(t) * SPREAD, path.beta(t))

    expected = path.alpha(there) * MEAN + spread(there) / spread(time) * (z - path.alpha(time) * MEAN)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("denoiser", [EDMDenoiser(Net(scale=1.0)), FlowDenoiser(Net(scale=1.0))], ids=["edm", "flow"])
def test_the_more_strength_the_farther_from_the_image(denoiser) -> None:
    images = 0.5 * normal(1).float()

    def varied(strength: float, **change: object) -> torch.Tensor:
        settings = dataclasses.replace(SETTINGS, clamp=False, **change)  # type: ignore[arg-type]
        return vary_images(denoiser, images, image_seeds(3, 3), Cond(), None, settings, strength)

    distances = [float((varied(strength) - images).square().mean()) for strength in (0.01, 0.5, 1.0)]
    assert distances[0] < distances[1] < distances[2], distances
    for batch in (1, 3):
        torch.testing.assert_close(varied(0.5, batch=batch), varied(0.5), rtol=0, atol=1e-5)
    stochastic = {"solver": "ddpm", "batch": 3}
    torch.testing.assert_close(varied(0.5, **stochastic), varied(0.5, solver="ddpm", batch=2), rtol=0, atol=1e-5)


def test_from_pure_noise_nothing_of_the_image_is_left() -> None:
    denoiser, seeds = FlowDenoiser(Net(scale=1.0)), image_seeds(3, 3)
    found = vary_images(denoiser, normal(1).float(), seeds, Cond(), None, SETTINGS, 1.0)
    torch.testing.assert_close(found, generate(denoiser, (2, 4, 6), seeds, None, None, SETTINGS), rtol=0, atol=1e-6)


def test_images_without_a_seed_are_refused() -> None:
    with pytest.raises(ValueError, match="3 images but 2 seeds"):
        vary_images(FlowDenoiser(Net()), normal(1), [1, 2], Cond(), None, SETTINGS, 0.5)


# ---- to the noise and back ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_an_images_noise_is_that_of_the_flow(path: Path) -> None:
    times = path.time(karras_sigmas(200, 0.002, 20.0))
    images = MEAN + SPREAD * normal(1)
    found = encode(GaussianOnPath(path), images, times, Cond(), path)
    start = float(times[0])
    wide = math.hypot(path.alpha(start) * SPREAD, path.beta(start)) / SPREAD
    expected = (path.alpha(start) * MEAN + wide * (images - MEAN)) / path.beta(start)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    "denoiser",
    [EDMDenoiser(Net(scale=1.0)), FlowDenoiser(Net(scale=1.0)), VPDenoiser(Net(), VPSchedule.linear(), "v")],
    ids=["edm", "flow", "vp"],
)
def test_the_way_to_the_noise_and_back_ends_where_it_began(denoiser) -> None:
    settings = inversion_settings(denoiser, SamplerSettings("ddim", sigma_max=20.0, eta=0.5), 40)
    assert (settings.solver, settings.eta) == ("heun", 0.0)
    times = sampling_times(denoiser, settings)
    images = heun(denoiser, normal(1), times, Cond(), denoiser.path)  # such as the denoiser draws
    noise = encode(denoiser, images, times, Cond(), denoiser.path)
    back = heun(denoiser, noise, times, Cond(), denoiser.path)
    torch.testing.assert_close(back, images, rtol=0, atol=0.03)
    assert float((images - images.flip(0)).abs().max()) > 0.3  # other noise, other images


def test_noise_levels_stay_within_a_schedule() -> None:
    denoiser = VPDenoiser(Net(), VPSchedule.linear())
    settings = inversion_settings(denoiser, SamplerSettings(sigma_min=1e-5, sigma_max=1e5), 5)
    sigmas = denoiser.path.sigma(sampling_times(denoiser, settings))
    assert float(sigmas[0]) == pytest.approx(denoiser.schedule.sigma_max)
    assert float(sigmas[-2]) == pytest.approx(denoiser.schedule.sigma_min)


def test_grids_that_do_not_end_clean_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected at least 3 times that end in 0, got 3 that end in 0\.1"):
        encode(EDMDenoiser(Net()), normal(1), torch.tensor([2.0, 1.0, 0.1]), Cond())


def test_between_two_noises_the_norm_stays_and_the_angle_is_shared_out() -> None:
    first, second = normal(1), normal(2)
    second = (
        second * first.flatten(1).norm(dim=1)[:, None, None, None] / second.flatten(1).norm(dim=1)[:, None, None, None]
    )
    share = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    found = spherical(first, second, share)
    torch.testing.assert_close(found.flatten(1).norm(dim=1), first.flatten(1).norm(dim=1))
    torch.testing.assert_close(found[0], first[0])
    torch.testing.assert_close(found[2], second[2])

    def angle(a: torch.Tensor, b: torch.Tensor) -> float:
        return math.acos(float((a * b).sum() / a.norm() / b.norm()))

    assert angle(first[1], found[1]) == pytest.approx(0.3 * angle(first[1], second[1]))
    assert angle(found[1], second[1]) == pytest.approx(0.7 * angle(first[1], second[1]))
    for other in (first, -first):
        torch.testing.assert_close(spherical(first, other, share), first + as_images(share) * (other - first))


# ---- mixes of classes --------------------------------------------------------------------------------------------------


def test_a_mix_is_the_weighted_mean_of_what_each_class_is_answered() -> None:
    denoiser, level = FlowDenoiser(Classes()), torch.full((3,), 0.7, dtype=torch.float64)
    weights = torch.tensor([[1.0, 0.0], [0.25, 0.75], [0.5, 0.5]], dtype=torch.float64)
    cond = Cond(label=torch.tensor([5, 5, 5]))

    def of(label: int) -> torch.Tensor:
        return denoiser(normal(1), level, Cond(label=torch.full((3,), label)))

    expected = as_images(weights[:, 0]) * of(0) + as_images(weights[:, 1]) * of(2)
    torch.testing.assert_close(ClassMix(denoiser, [0, 2], weights)(normal(1), level, cond), expected)
    time = denoiser.path.time(0.7)
    z = normal(1) * denoiser.path.alpha(time)
    torch.testing.assert_close(ClassMix(denoiser, [0, 2], weights).at(z, time, cond), expected)


def test_a_mix_of_one_class_is_that_class_also_guided() -> None:
    denoiser, seeds, settings = (
        FlowDenoiser(Classes()),
        image_seeds(1, 3),
        dataclasses.replace(SETTINGS, guidance_scale=2.0),
    )
    images, weights = normal(1).float(), torch.tensor([[1.0, 0.0]]).expand(3, 2)
    cond = Cond(label=torch.tensor([1, 1, 1]))
    found = vary_images(denoiser, images, seeds, cond, 3, settings, 0.5, ([2, 0], weights))
    expected = vary_images(denoiser, images, seeds, Cond(label=torch.tensor([2, 2, 2])), 3, settings, 0.5)
    assert torch.equal(found, expected)


def guided_without_labels(name: str, settings: SamplerSettings) -> torch.Tensor:
    """Images drawn by one of the ways in which images are made from images, without a label."""
    denoiser, images, seeds, rest = FlowDenoiser(Classes()), normal(1).float(), image_seeds(1, 3), (3, settings)
    if name == "between":
        return interpolate_images(denoiser, images[0], images[1], 3, None, *rest)
    if name == "vary":
        return vary_images(denoiser, images, seeds, Cond(), *rest, 0.5)
    if name == "inpaint":
        return inpaint_images(denoiser, images, torch.ones(3, 1, *images.shape[2:]), seeds, Cond(), *rest)
    return restore_images(denoiser, Averaging(1), images, images.shape[1:], seeds, Cond(), *rest, noise_level=0.1)


@pytest.mark.parametrize("name", ["between", "vary", "inpaint", "restore"])
def test_guidance_to_no_class_is_refused_before_any_network_is_asked(name: str) -> None:
    with pytest.raises(ValueError, match=r"guidance_scale 2.0 needs a label for each image; use guidance_scale 1"):
        guided_without_labels(name, dataclasses.replace(SETTINGS, guidance_scale=2.0))
    with pytest.raises(AssertionError):  # without guidance the network is asked, which has answers for classes alone
        guided_without_labels(name, SETTINGS)


def test_the_ends_of_a_way_between_images_have_classes_of_the_network() -> None:
    denoiser, images = FlowDenoiser(Known()), normal(1).float()
    with pytest.raises(ValueError, match="labels must lie in 0 to 2, or be 3, the null class; got 1 to 7"):
        interpolate_images(denoiser, images[0], images[1], 3, (1, 7), 3, SETTINGS)


def test_a_mix_keeps_the_variance_that_a_network_predicts() -> None:
    denoiser = VPDenoiser(Net(outputs=4), VPSchedule.linear(), learned_variance=True)
    level, weights = torch.full((3,), 0.8, dtype=torch.float64), torch.tensor([[0.5, 0.5]])
    found = ClassMix(ClassifierFreeGuidance(denoiser, 1.0, 3), [0, 1], weights).predict(normal(1), level, Cond())
    expected = denoiser.predict(normal(1), level, Cond())
    torch.testing.assert_close(found.variance, expected.variance)
    torch.testing.assert_close(found.x0_hat, expected.x0_hat)


@pytest.mark.parametrize("weights", [[[0.5, 0.6]], [[1.2, -0.2]], [0.5, 0.5], [[1.0]], [[math.nan, 0.5]]], ids=str)
def test_weights_that_make_no_sense_are_refused(weights: list) -> None:
    with pytest.raises(ValueError, match=r"expected weights \[B, 2\] of at least 0 that sum to 1"):
        ClassMix(FlowDenoiser(Classes()), [0, 1], torch.tensor(weights))
