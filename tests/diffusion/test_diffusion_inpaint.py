"""Masked diffusion: known pixels to the bit, the conditional distribution of a correlated Gaussian, and noise by seed."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
import torch
from diffusion_nets import CorrelatedOnPath, Net, normal, smooth_covariance

from sadm.core.conditions import Cond
from sadm.data import to_floats, to_uint8
from sadm.diffusion import (
    EDMDenoiser,
    FlowDenoiser,
    Path,
    SamplerSettings,
    StraightLine,
    VarianceExploding,
    VariancePreserving,
    VPDenoiser,
    VPSchedule,
    ddpm,
    image_seeds,
    inpaint,
    inpaint_images,
    karras_sigmas,
    uniform_times,
)
from sadm.diffusion.held import evaluations, noised_further, visits

PATHS = [VarianceExploding(), VariancePreserving(), StraightLine()]
SETTINGS = SamplerSettings(steps=4, batch=3)


def some_mask() -> torch.Tensor:
    mask = torch.zeros(3, 1, 4, 6)
    mask[0, :, 1:3, 2:5] = 1
    mask[1, :, :, :2] = 1
    return mask  # nothing of the third image


def fresh(step: int) -> torch.Tensor:
    return normal(50 + step)


# ---- the order of visits -----------------------------------------------------------------------------------------------


def test_without_resampling_times_are_visited_once() -> None:
    assert visits(4) == [0, 1, 2, 3, 4]


def test_stretches_are_walked_again_from_the_least_noisy_up() -> None:
    assert visits(3, resample=2) == [0, 1, 0, 1, 2, 1, 2, 3]
    assert visits(5, resample=3, jump=2) == [0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4, 2, 3, 4, 2, 3, 4, 5]
    assert visits(2, resample=2, jump=5) == [0, 1, 2]  # no stretch is so long
    assert visits(4, resample=2, last=2) == [0, 1, 0, 1, 2, 1, 2, 3, 4]
    assert visits(2, resample=2, last=9) == [0, 1, 0, 1, 2]


@pytest.mark.parametrize(("steps", "resample", "jump"), [(1, 1, 1), (7, 4, 1), (7, 3, 2), (10, 5, 10)])
def test_a_walk_starts_noisy_ends_clean_and_is_counted(steps: int, resample: int, jump: int) -> None:
    order = visits(steps, resample, jump)
    assert (order[0], order[-1], order.count(steps)) == (0, steps, 1)
    assert all(there - here in (1, -jump) for here, there in pairwise(order))
    denoiser = CorrelatedOnPath(StraightLine(), torch.zeros(2, 4, 6), torch.eye(48, dtype=torch.float64))
    how = {"known": normal(1), "mask": some_mask(), "resample": resample, "jump": jump}
    inpaint(denoiser, normal(2), uniform_times(steps), Cond(), StraightLine(), fresh, **how)
    assert denoiser.asked == evaluations(steps, resample, jump)


@pytest.mark.parametrize("numbers", [(0, 1, 1), (3, 0, 1), (3, 1, 0), (3, -1, 1)])
def test_numbers_below_one_are_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected steps, resample and jump of at least 1, got"):
        visits(*numbers)


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_going_back_gives_the_higher_level_its_own_shares(path: Path) -> None:
    """Of z = alpha x0 + beta noise, x0 must keep alpha there, and the two noises make up beta there."""
    here, there = path.time(0.3), path.time(2.0)
    x0, noise, more = normal(1), normal(2), normal(3)
    found = noised_further(path.alpha(here) * x0 + path.beta(here) * noise, path, here, there, more)
    old = path.alpha(there) / path.alpha(here) * path.beta(here)
    new = (path.beta(there) ** 2 - old**2) ** 0.5
    torch.testing.assert_close(found, path.alpha(there) * x0 + old * noise + new * more, rtol=1e-12, atol=1e-12)
    if path == StraightLine():
        assert torch.equal(noised_further(x0, path, here, 1.0, more), more)  # nothing of the image is left at the end


# ---- the conditional distribution --------------------------------------------------------------------------------------

MASK = torch.tensor([0, 0, 1, 1, 1, 0]).view(1, 1, 2, 3)
MEAN = torch.linspace(-0.3, 0.4, 6, dtype=torch.float64).view(1, 2, 3)
KNOWN = torch.tensor([0.5, -0.4, 0, 0, 0, 0.7], dtype=torch.float64).view(1, 1, 2, 3)


def conditional() -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of the masked pixels given the others."""
    covariance, made = smooth_covariance(6), MASK.flatten().bool()
    gain = covariance[made][:, ~made] @ torch.linalg.inv(covariance[~made][:, ~made])
    off = (KNOWN - MEAN).flatten()[~made]
    return MEAN.flatten()[made] + gain @ off, covariance[made][:, made] - gain @ covariance[~made][:, made]


def mean_of_samples(path: Path, steps: int, resample: int) -> torch.Tensor:
    """Without noise, what is linear in the noise follows its mean."""
    zero = torch.zeros_like(KNOWN)
    denoiser, times = CorrelatedOnPath(path, MEAN, smooth_covariance(6)), path.time(karras_sigmas(steps, 0.01, 20.0))
    how = {"known": KNOWN, "mask": MASK, "resample": resample}
    return inpaint(denoiser, zero, times, Cond(), path, lambda step: zero, **how).flatten()[MASK.flatten().bool()]


def test_resampling_brings_the_mean_to_that_given_the_known_pixels() -> None:
    expected, path = conditional()[0], StraightLine()
    errors = [float((mean_of_samples(path, 12, resample) - expected).abs().max()) for resample in (1, 4, 16, 64)]
    assert all(after < 0.9 * before for before, after in pairwise(errors)), errors
    assert errors[0] > 0.1
    assert errors[-1] < 0.035


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_what_is_drawn_depends_on_the_noise_levels_alone(path: Path) -> None:
    torch.testing.assert_close(mean_of_samples(path, 8, 3), mean_of_samples(PATHS[0], 8, 3), rtol=0, atol=1e-9)


def test_samples_spread_as_the_conditional_distribution_does() -> None:
    path, count, source = VarianceExploding(), 2000, torch.Generator().manual_seed(1)

    def draw(step: int = 0) -> torch.Tensor:
        return torch.randn(count, 1, 2, 3, generator=source, dtype=torch.float64)

    denoiser, times = CorrelatedOnPath(path, MEAN, smooth_covariance(6)), path.time(karras_sigmas(60, 0.01, 20.0))
    known = KNOWN.expand(count, -1, -1, -1)
    found = inpaint(denoiser, draw(), times, Cond(), path, draw, known=known, mask=MASK, resample=4)
    made, expected = found.flatten(1)[:, MASK.flatten().bool()], conditional()[1]
    assert float((smooth_covariance(6)[:3, :3] - expected).abs().min()) > 0.1  # the pixels' own is far from it
    torch.testing.assert_close(torch.cov(made.T), expected, rtol=0, atol=0.025)


# ---- what is kept ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "denoiser",
    [
        EDMDenoiser(Net(scale=1.0)),
        FlowDenoiser(Net(scale=1.0)),
        VPDenoiser(Net(), VPSchedule.linear(), "v"),
        VPDenoiser(Net(outputs=4), VPSchedule.linear(), learned_variance=True),
    ],
    ids=["edm", "flow", "vp", "vp with variance"],
)
def test_outside_of_the_mask_every_process_keeps_every_bit(denoiser) -> None:
    pixels = torch.randint(0, 256, (3, 2, 4, 6), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)
    known, mask = to_floats(pixels), some_mask()
    found = inpaint_images(denoiser, known, mask, image_seeds(1, 3), Cond(), None, SETTINGS, resample=2)
    outside = (mask == 0).expand_as(known)
    assert found.dtype == torch.float32
    assert torch.equal(found[outside], known[outside])
    assert torch.equal(to_uint8(found)[outside], pixels[outside])
    assert float((found - known)[~outside].abs().mean()) > 0.05
    assert float(found.abs().max()) <= 1


def test_what_is_known_is_kept_even_out_of_range_and_what_is_masked_has_no_effect() -> None:
    known, mask = normal(1).float() * 3, some_mask()
    other = torch.where(mask.bool(), torch.nan, known)
    seeds = image_seeds(1, 3)
    one, two = (
        inpaint_images(EDMDenoiser(Net()), image, mask, seeds, Cond(), None, SETTINGS) for image in (known, other)
    )
    assert torch.equal(one, two)
    assert torch.equal(one[mask.expand_as(known) == 0], known[mask.expand_as(known) == 0])


def test_with_all_masked_it_is_ancestral_sampling() -> None:
    denoiser, times = FlowDenoiser(Net(scale=1.0)), uniform_times(5)
    mask = torch.ones(1, 1, 4, 6)
    found = inpaint(denoiser, normal(1), times, Cond(), denoiser.path, fresh, known=normal(2), mask=mask)
    expected = ddpm(denoiser, normal(1), times, Cond(), denoiser.path, lambda step: fresh(2 * step))
    assert torch.equal(found, expected)


def test_an_image_does_not_depend_on_the_batch() -> None:
    known, mask, seeds, cond = normal(1), some_mask(), image_seeds(5, 3), Cond(label=torch.tensor([0, 1, 2]))

    def made(batch: int, rows: slice = slice(None)) -> torch.Tensor:
        settings = dataclasses.replace(SETTINGS, batch=batch)
        return inpaint_images(
            EDMDenoiser(Net(scale=1.0)), known[rows], mask[rows], seeds[rows], cond[rows], 3, settings, resample=2
        )

    together = made(3)
    for batch in (1, 2):
        torch.testing.assert_close(made(batch), together, rtol=0, atol=1e-6)
    torch.testing.assert_close(made(3, slice(1, 2)), together[1:2], rtol=0, atol=1e-6)
    again = inpaint_images(EDMDenoiser(Net(scale=1.0)), known, mask, image_seeds(6, 3), cond, 3, SETTINGS, resample=2)
    assert float((again - together)[:2].abs().max()) > 0.01


# ---- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(3, 1, 4, 5), "a mask of shape (3, 1, 4, 5) for images (3, 2, 4, 6)"),
        (torch.zeros(2, 1, 4, 6), "a mask of shape (2, 1, 4, 6)"),
        (torch.zeros(4, 6), "a mask of shape (4, 6)"),
        (torch.full((3, 1, 4, 6), 0.5), "a mask with values from 0.5 to 0.5; expected 1 where the image is to be made"),
        (torch.full((3, 1, 4, 6), 255), "a mask with values from 255 to 255"),
    ],
)
def test_masks_that_make_no_sense_are_refused(mask: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match="mask") as caught:
        inpaint_images(EDMDenoiser(Net()), normal(1), mask, [1, 2, 3], Cond(), None, SETTINGS)
    assert message in str(caught.value)


def test_seeds_conditions_and_images_must_fit() -> None:
    denoiser, known, mask = EDMDenoiser(Net()), normal(1), some_mask()
    with pytest.raises(ValueError, match="3 images but 2 seeds"):
        inpaint_images(denoiser, known, mask, [1, 2], Cond(), None, SETTINGS)
    with pytest.raises(ValueError, match="3 images but cond.attributes of shape"):
        inpaint_images(denoiser, known, mask, [1, 2, 3], Cond(attributes=torch.zeros(2, 4)), None, SETTINGS)
    with pytest.raises(ValueError, match="known images of shape"):
        inpaint(denoiser, normal(1), karras_sigmas(3), Cond(), draw=fresh, known=known[:2], mask=mask)
    with pytest.raises(ValueError, match="inpainting adds noise at each step: give draw"):
        inpaint(denoiser, normal(1), karras_sigmas(3), Cond(), known=known, mask=mask)
