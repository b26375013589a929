"""Null-space and posterior sampling on Gaussian data, whose posterior is known in closed form."""

from __future__ import annotations

import pytest
import torch
from diffusion_nets import CorrelatedOnPath, GaussianOnPath, Net, normal, smooth_covariance

from sadm.core.conditions import Cond
from sadm.diffusion import (
    EDMDenoiser,
    Path,
    StraightLine,
    VarianceExploding,
    VariancePreserving,
    VPDenoiser,
    VPSchedule,
    ddim,
    heun,
    karras_sigmas,
    uniform_times,
)
from sadm.diffusion.null_space import null_space, with_level
from sadm.diffusion.operators import Averaging, Blur, Grey, Masking, Operator, Projecting
from sadm.diffusion.posterior import Posterior

PATHS = [VarianceExploding(), VariancePreserving(), StraightLine()]
MEAN, SPREAD, SHAPE = 0.3, 0.5, (3, 2, 4)  # of GaussianOnPath; C, H, W
PIXELS = 24
PROJECTING: dict[str, Projecting] = {
    "mask": Masking((normal(4, 1, 1, 2, 4) > 0).double()),
    "average": Averaging(2),
    "grey": Grey(),
}
ANY: dict[str, Operator] = {**PROJECTING, "blur": Blur.gaussian(0.8)}


def units() -> torch.Tensor:
    return torch.eye(PIXELS, dtype=torch.float64).view(PIXELS, *SHAPE)


def posterior(operator: Operator, measured: torch.Tensor, noise_level: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean [P] and covariance [P, P] of x given y = A x + noise, for independent Gaussian pixels."""
    matrix = operator(units()).flatten(1).T
    of_y = SPREAD**2 * matrix @ matrix.T + noise_level**2 * torch.eye(len(matrix), dtype=torch.float64)
    gain = SPREAD**2 * matrix.T @ torch.linalg.pinv(of_y)
    mean = MEAN + gain @ (measured.flatten() - MEAN * matrix.sum(1))
    return mean, SPREAD**2 * (torch.eye(PIXELS, dtype=torch.float64) - gain @ matrix)


def times_of(path: Path, steps: int) -> torch.Tensor:
    return path.time(karras_sigmas(steps, 0.02, 10.0))


# ---- null space --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "path"), [*zip(PROJECTING, PATHS, strict=True)], ids=str)
def test_what_was_measured_is_met_and_the_rest_is_drawn_as_it_is_distributed(name: str, path: Path) -> None:
    operator, count, source = PROJECTING[name], 800, torch.Generator().manual_seed(2)

    def draw(step: int = 0) -> torch.Tensor:
        return torch.randn(count, *SHAPE, generator=source, dtype=torch.float64)

    measured = operator(normal(5, 1, *SHAPE) * 0.5)
    how = {"operator": operator, "measured": measured.expand(count, -1, -1, -1)}
    found = null_space(GaussianOnPath(path), draw(), times_of(path, 60), Cond(), path, draw, **how)
    torch.testing.assert_close(operator(found), how["measured"], rtol=0, atol=1e-12)
    mean, covariance = posterior(operator, measured, 0.0)
    torch.testing.assert_close(found.flatten(1).mean(0), mean, rtol=0, atol=5 * SPREAD / count**0.5)
    torch.testing.assert_close(torch.cov(found.flatten(1).T), covariance, rtol=0, atol=0.06)
    assert float((covariance - SPREAD**2 * torch.eye(PIXELS)).abs().max()) > 0.05


@pytest.mark.parametrize(("name", "noise_level"), [("mask", 0.4), ("average", 0.1), ("average", 0.4), ("grey", 0.4)])
def test_noisy_measurements_are_weighed_against_what_images_are_like(name: str, noise_level: float) -> None:
    operator, count, source, path = PROJECTING[name], 800, torch.Generator().manual_seed(3), StraightLine()

    def draw(step: int = 0) -> torch.Tensor:
        return torch.randn(count, *SHAPE, generator=source, dtype=torch.float64)

    measured = operator(MEAN + normal(5, 1, *SHAPE) * 0.5) + noise_level
    how = {"operator": operator, "measured": measured.expand(count, -1, -1, -1), "noise_level": noise_level}
    found = null_space(GaussianOnPath(path), draw(), times_of(path, 60), Cond(), path, draw, **how).flatten(1)
    mean, covariance = posterior(operator, measured, noise_level)
    blind = posterior(operator, measured, 0.0)[0]
    torch.testing.assert_close(found.mean(0), mean, rtol=0, atol=0.08)
    torch.testing.assert_close(torch.cov(found.T), covariance, rtol=0, atol=0.06)
    if noise_level == 0.4:
        assert float((mean - blind).abs().max()) > 0.2


def test_time_travel_brings_it_closer_to_the_conditional_distribution() -> None:
    """For correlated pixels a step that looks at x0_hat alone lags behind what was measured."""
    path, zero = VariancePreserving(), torch.zeros(1, 1, 2, 3, dtype=torch.float64)
    covariance, mean = smooth_covariance(6), torch.zeros(1, 2, 3, dtype=torch.float64)
    made = torch.tensor([0, 0, 1, 1, 1, 0]).bool()
    operator = Masking(made.view(1, 1, 2, 3))
    measured = operator(torch.tensor([0.5, -0.4, 0, 0, 0, 0.7], dtype=torch.float64).view(1, 1, 2, 3))
    expected = covariance[made][:, ~made] @ torch.linalg.inv(covariance[~made][:, ~made]) @ measured.flatten()[~made]
    errors = []
    for resample in (1, 8, 48):
        how = {"operator": operator, "measured": measured, "resample": resample}
        denoiser = CorrelatedOnPath(path, mean, covariance)
        found = null_space(denoiser, zero, times_of(path, 12), Cond(), path, lambda step: zero, **how)
        errors.append(float((found.flatten()[made] - expected).abs().max()))
    assert errors[0] > 0.08
    assert errors[2] < 0.5 * errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("path", PATHS, ids=repr)
@pytest.mark.parametrize("resample", [1, 6])
def test_noise_alone_is_taken_away_as_the_posterior_has_it_however_often_resampled(resample: int, path: Path) -> None:
    """Correlated pixels under noise of a level that the grid lacks; all is linear in the noise drawn, so the mean is exact."""
    zero, covariance = torch.zeros(1, 1, 2, 3, dtype=torch.float64), smooth_covariance(6)
    measured = torch.tensor([0.9, -0.4, 0.1, 0.8, -0.2, 0.7], dtype=torch.float64).view(1, 1, 2, 3)
    denoiser, level = CorrelatedOnPath(path, torch.zeros(1, 2, 3, dtype=torch.float64), covariance), 0.4
    how = {"operator": Masking(torch.zeros(1, 1, 1, 1)), "measured": measured, "noise_level": level}
    grid = path.time(karras_sigmas(8, 0.02, 10.0))
    found = null_space(denoiser, zero, grid, Cond(), path, lambda step: zero, resample=resample, **how)
    gain = covariance @ torch.linalg.inv(covariance + level**2 * torch.eye(6))
    # On the way down from its own level the mean goes through E[x | z] at each of the grid's: for Gaussians that is exact.
    torch.testing.assert_close(found.flatten(), gain @ measured.flatten(), rtol=0, atol=1e-7)


def test_what_is_missing_agrees_with_what_was_measured_under_noise() -> None:
    """Correlated pixels, of which half are known, with noise: resampled above the noise, the mean comes near its own."""
    path, zero, covariance = VariancePreserving(), torch.zeros(1, 1, 2, 3, dtype=torch.float64), smooth_covariance(6)
    made, level = torch.tensor([0, 0, 1, 1, 1, 0]).bool(), 0.1
    operator = Masking(made.view(1, 1, 2, 3))
    measured = operator(torch.tensor([0.5, -0.4, 0, 0, 0, 0.7], dtype=torch.float64).view(1, 1, 2, 3))
    of_y = covariance[~made][:, ~made] + level**2 * torch.eye(3)
    expected = covariance[:, ~made] @ torch.linalg.inv(of_y) @ measured.flatten()[~made]
    errors = []
    for resample in (1, 8, 48):
        how = {"operator": operator, "measured": measured, "noise_level": level, "resample": resample}
        denoiser = CorrelatedOnPath(path, torch.zeros(1, 2, 3, dtype=torch.float64), covariance)
        found = null_space(denoiser, zero, times_of(path, 12), Cond(), path, lambda step: zero, **how)
        errors.append(float((found.flatten() - expected).abs().max()))
    assert errors[2] < 0.6 * errors[0]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_the_level_of_what_was_measured_is_among_the_times(path: Path) -> None:
    grid = [path.time(sigma) for sigma in (8.0, 1.0, 0.25)] + [0.0]
    assert with_level(grid, path, 0.5).tolist() == [*grid[:2], path.time(0.5), *grid[2:]]
    for level in (0.0, 0.25, 1.0, 8.0, 9.0, 0.1):  # there already, or noisier or less noisy than all
        assert with_level(grid, path, level).tolist() == grid


def test_without_damage_nothing_is_made() -> None:
    known, denoiser = normal(1), EDMDenoiser(Net(scale=1.0))
    how = {"operator": Masking(torch.zeros(1, 1, 4, 6)), "measured": known}
    found = null_space(denoiser, normal(2), karras_sigmas(4), Cond(), draw=normal, **how)
    torch.testing.assert_close(found, known, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measured": normal(1, 3, 2, 4, 6)}, r"measured is of shape \(3, 2, 4, 6\); expected \(3, 2, 2, 3\)"),
        ({"noise_level": -0.1}, "expected a noise level of at least 0, got -0.1"),
        ({"noise_level": float("nan")}, "expected a noise level of at least 0, got nan"),
        ({"resample": 0}, "expected steps, resample and jump of at least 1"),
    ],
)
def test_measurements_that_make_no_sense_are_refused(change: dict[str, object], message: str) -> None:
    how = {"operator": Averaging(2), "measured": normal(1, 3, 2, 2, 3)} | change
    with pytest.raises(ValueError, match=message):
        null_space(EDMDenoiser(Net()), normal(2), karras_sigmas(4), Cond(), draw=normal, **how)


# ---- posterior ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS, ids=repr)
@pytest.mark.parametrize("name", ANY)
def test_its_x0_hat_is_that_of_the_posterior(name: str, path: Path) -> None:
    """Given z and y, both Gaussian around x, the mean of x is known; at any noise level, one for all or one for each."""
    operator, noise_level = ANY[name], 0.2
    measured, z, level = operator(normal(5, 2, *SHAPE)), normal(6, 2, *SHAPE), torch.tensor([0.3, 4.0]).double()
    guided = Posterior(GaussianOnPath(path), operator, measured, noise_level, SPREAD)
    matrix = operator(units()).flatten(1).T

    def expected(index: int, a: float, b: float) -> torch.Tensor:
        precision = torch.eye(PIXELS) * (1 / SPREAD**2 + a**2 / b**2) + matrix.T @ matrix / noise_level**2
        pull = MEAN / SPREAD**2 + a / b**2 * z[index].flatten() + matrix.T @ measured[index].flatten() / noise_level**2
        return torch.linalg.solve(precision, pull).view(SHAPE)

    found = guided(z, level, Cond())
    for index, sigma in enumerate(level.tolist()):
        torch.testing.assert_close(found[index], expected(index, 1.0, sigma), rtol=0, atol=1e-4)
    time = path.time(0.7)
    found = guided.at(z, time, Cond())
    assert not found.requires_grad
    for index in range(2):
        torch.testing.assert_close(found[index], expected(index, path.alpha(time), path.beta(time)), rtol=0, atol=1e-4)


def test_solvers_draw_from_the_posterior_starting_in_pure_noise() -> None:
    """What is linear in the noise: its value for no noise is the mean, what unit noises add makes up the covariance."""
    operator, noise_level, path = ANY["blur"], 0.2, StraightLine()
    measured = operator(normal(5, 1, *SHAPE))
    noise = torch.cat([torch.zeros(1, *SHAPE, dtype=torch.float64), units()])
    guided = Posterior(GaussianOnPath(path), operator, measured.expand(len(noise), -1, -1, -1), noise_level, SPREAD)
    with torch.no_grad():
        found = heun(guided, noise, uniform_times(40), Cond(), path).flatten(1)
    mean, covariance = posterior(operator, measured, noise_level)
    effects = found[1:] - found[:1]
    torch.testing.assert_close(found[0], mean, rtol=0, atol=0.02)
    torch.testing.assert_close(effects.T @ effects, covariance, rtol=0, atol=0.02)


def test_the_gradient_goes_through_the_network() -> None:
    """Against the network's derivative taken by finite differences."""
    denoiser, operator, noise_level, sigma = EDMDenoiser(Net(scale=1.0)), Blur.gaussian(0.6), 0.3, 0.8
    x_t, level, step = normal(1), torch.full((3,), sigma, dtype=torch.float64), 1e-5
    measured = normal(2)
    found = Posterior(denoiser, operator, measured, noise_level, 0.5)(x_t, level, Cond())
    x0_hat, direction = denoiser(x_t, level, Cond()), normal(3)
    along = (denoiser(x_t + step * direction, level, Cond()) - denoiser(x_t - step * direction, level, Cond())) / (
        2 * step
    )
    size = x_t[0].numel()
    matrix = operator(torch.eye(size, dtype=torch.float64).view(size, *x_t.shape[1:])).flatten(1).T
    open_ = sigma**2 * 0.25 / (sigma**2 + 0.25)
    of_y = noise_level**2 * torch.eye(size) + open_ * matrix @ matrix.T
    pull = torch.linalg.solve(of_y, (measured - operator(x0_hat)).flatten(1).T).T @ matrix  # [B, P]
    expected = sigma**2 * (pull * along.flatten(1)).sum(1)
    torch.testing.assert_close(((found - x0_hat) * direction).flatten(1).sum(1), expected, rtol=1e-3, atol=1e-4)


def test_a_predicted_variance_stays() -> None:
    denoiser = VPDenoiser(Net(outputs=4), VPSchedule.linear(), learned_variance=True)
    level = torch.full((3,), 0.8, dtype=torch.float64)
    guided = Posterior(denoiser, Masking(torch.zeros(1, 1, 4, 6)), normal(2), 0.1, 0.5)
    expected = denoiser.predict(normal(1), level, Cond()).variance
    found = guided.predict(normal(1), level, Cond()).variance
    assert expected is not None
    assert found is not None
    assert torch.equal(found, expected.detach())
    ddim(guided, normal(1), guided.path.time(karras_sigmas(3, 0.1, 20.0)), Cond(), guided.path)


@pytest.mark.parametrize(("noise_level", "spread"), [(0.0, 0.5), (0.1, 0.0), (float("nan"), 0.5)])
def test_levels_that_make_no_sense_are_refused(noise_level: float, spread: float) -> None:
    with pytest.raises(ValueError, match="expected a noise level and a spread above 0, got"):
        Posterior(EDMDenoiser(Net()), Averaging(2), normal(1), noise_level, spread)
    guided = Posterior(EDMDenoiser(Net()), Averaging(2), normal(1), 0.1, 0.5)
    with pytest.raises(ValueError, match="measured is of shape"):
        guided(normal(1), torch.ones(3, dtype=torch.float64), Cond())
