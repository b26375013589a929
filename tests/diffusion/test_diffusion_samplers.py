"""Sampling with the exact denoiser of Gaussian data, whose trajectories are known in closed form."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from sadm.core.conditions import Cond
from sadm.diffusion import SOLVERS, dpmpp_2m, heun, heun_nfe, karras_sigmas, solver_nfe

MEAN, SPREAD = 0.3, 0.5


class GaussianDenoiser:
    """The posterior mean for data N(MEAN, SPREAD^2 I); counts its calls."""

    def __init__(self) -> None:
        self.levels: list[float] = []

    def __call__(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
        assert sigma.shape == (len(x_t),)
        assert len(sigma.unique()) == 1
        self.levels.append(float(sigma[0]))
        s = sigma.reshape(-1, 1, 1, 1)
        return (SPREAD**2 * x_t + s**2 * MEAN) / (SPREAD**2 + s**2)


def start(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(3, 1, 2, 5, generator=torch.Generator().manual_seed(0), dtype=dtype)


def fresh(step: int) -> torch.Tensor:
    return torch.randn(3, 1, 2, 5, generator=torch.Generator().manual_seed(1 + step), dtype=torch.float64)


def exact(noise: torch.Tensor, sigma_max: float, sigma: float) -> torch.Tensor:
    """Along the flow ``x - MEAN`` scales as sqrt(SPREAD^2 + sigma^2)."""
    shrink = math.sqrt((SPREAD**2 + sigma**2) / (SPREAD**2 + sigma_max**2))
    return MEAN + shrink * (sigma_max * noise - MEAN)


def test_many_steps_reach_the_closed_form() -> None:
    sample = heun(GaussianDenoiser(), start(), karras_sigmas(1000), Cond())
    torch.testing.assert_close(sample, exact(start(), 80, 0), rtol=0, atol=2e-5)


@pytest.mark.parametrize("rho", [3.0, 7.0])
def test_it_converges_with_second_order(rho: float) -> None:
    errors = []
    for steps in (16, 32, 64, 128):
        sigmas = karras_sigmas(steps, 0.01, 20.0, rho)[:-1]  # without the final Euler step, whose length is fixed
        sample = heun(GaussianDenoiser(), start(), sigmas, Cond())
        errors.append(float((sample - exact(start(), 20.0, 0.01)).abs().max()))
    assert all(3 < before / after < 5.5 for before, after in pairwise(errors)), errors
    assert errors[-1] < 1e-3


def test_a_step_of_heun_equals_the_formula() -> None:
    sigmas = torch.tensor([2.0, 0.8, 0.0], dtype=torch.float64)
    x = 2.0 * start()
    slope = (x - GaussianDenoiser()(x, torch.full((3,), 2.0), Cond())) / 2.0
    guess = x - 1.2 * slope
    slope_there = (guess - GaussianDenoiser()(guess, torch.full((3,), 0.8), Cond())) / 0.8
    x = x - 1.2 * 0.5 * (slope + slope_there)
    expected = GaussianDenoiser()(x, torch.full((3,), 0.8, dtype=torch.float64), Cond())  # Euler to 0 is the denoiser
    # torch.full without a dtype rounds 0.8 to float32, hence the tolerance.
    torch.testing.assert_close(heun(GaussianDenoiser(), start(), sigmas, Cond()), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("steps", [1, 2, 3, 18])
def test_network_evaluations_are_counted_right(steps: int) -> None:
    denoiser = GaussianDenoiser()
    heun(denoiser, start(), karras_sigmas(steps), Cond())
    assert len(denoiser.levels) == heun_nfe(steps) == 2 * steps - 1
    assert min(denoiser.levels) > 0  # no denoiser is asked at sigma 0


def test_one_step_is_the_denoiser_itself() -> None:
    sample = heun(GaussianDenoiser(), start(), karras_sigmas(1, sigma_max=5.0), Cond())
    expected = GaussianDenoiser()(5.0 * start(), torch.full((3,), 5.0, dtype=torch.float64), Cond())
    torch.testing.assert_close(sample, expected, rtol=0, atol=1e-14)


def test_samples_keep_the_dtype_and_pass_the_condition() -> None:
    cond, seen = Cond(label=torch.arange(3)), []

    def denoiser(x_t: torch.Tensor, sigma: torch.Tensor, given_cond: Cond) -> torch.Tensor:
        seen.append(given_cond)
        assert sigma.dtype == x_t.dtype
        return 0.5 * x_t

    assert heun(denoiser, start(torch.float32), karras_sigmas(3), cond).dtype == torch.float32
    assert all(given_cond is cond for given_cond in seen)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solver_can_be_learned_through(solver: str) -> None:
    """The derivative of the samples' mean square with respect to the denoiser, against a difference quotient."""

    def mean_square(gain: torch.Tensor) -> torch.Tensor:
        sample = SOLVERS[solver](
            lambda x_t, sigma, cond: gain * x_t.tanh(), start(), karras_sigmas(4, 0.1, 5.0), Cond(), draw=fresh
        )
        return sample.square().mean()

    gain = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(mean_square(gain), gain)
    with torch.no_grad():
        quotient = (mean_square(gain + 1e-6) - mean_square(gain - 1e-6)) / 2e-6
    torch.testing.assert_close(slope, quotient, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("steps", "low", "high", "rho"), [(18, 0.002, 80.0, 7.0), (5, 0.1, 3.0, 1.0), (2, 1.0, 2.0, 9.0)]
)
def test_the_grid_equals_the_formula(steps: int, low: float, high: float, rho: float) -> None:
    sigmas = karras_sigmas(steps, low, high, rho)
    expected = [
        (high ** (1 / rho) + i / (steps - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(steps)
    ]
    assert sigmas.dtype == torch.float64
    assert sigmas.tolist() == pytest.approx([*expected, 0.0], rel=1e-12)
    assert sigmas[0] == pytest.approx(high, rel=1e-12)
    assert sigmas[-2] == pytest.approx(low, rel=1e-12)
    assert all(before > after for before, after in pairwise(sigmas.tolist()))


def test_a_grid_of_one_step_starts_at_the_top() -> None:
    assert karras_sigmas(1).tolist() == pytest.approx([80.0, 0.0], rel=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"steps": -3},
        {"sigma_min": 0.0},
        {"sigma_min": -1.0},
        {"sigma_min": 80.0},
        {"sigma_min": 100.0},
        {"sigma_min": math.nan},
        {"sigma_max": math.nan},
        {"sigma_max": math.inf},
        {"rho": 0.0},
        {"rho": -7.0},
        {"rho": math.nan},
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected steps >= 1, 0 < sigma_min < sigma_max < inf and rho > 0, got steps"):
        karras_sigmas(**{"steps": 4, **change})  # type: ignore[arg-type]


def test_the_multistep_solver_converges_with_second_order_in_the_log_of_sigma() -> None:
    errors = []
    for steps in (16, 32, 64, 128):
        sigmas = torch.logspace(math.log10(20.0), math.log10(0.01), steps, dtype=torch.float64)
        sample = dpmpp_2m(GaussianDenoiser(), start(), sigmas, Cond())
        errors.append(float((sample - exact(start(), 20.0, 0.01)).abs().max()))
    assert all(3 < before / after < 5.5 for before, after in pairwise(errors)), errors
    assert errors[-1] < 1e-3


@pytest.mark.parametrize("steps", [1, 2, 5, 9])
def test_the_multistep_solver_equals_that_of_diffusers(steps: int) -> None:
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install -e '.[dev]'")
    theirs = diffusers.EDMDPMSolverMultistepScheduler(
        sigma_min=0.02, sigma_max=20.0, sigma_data=SPREAD, solver_order=2, final_sigmas_type="zero",
        solver_type="midpoint", lower_order_final=True, euler_at_final=False,
    )  # fmt: skip
    theirs.set_timesteps(steps)
    sigmas = torch.cat([theirs.sigmas[:-1].double(), torch.zeros(1, dtype=torch.float64)])
    denoiser, x = GaussianDenoiser(), start() * float(sigmas[0])
    for sigma, timestep in zip(sigmas[:-1], theirs.timesteps, strict=True):
        x0_hat = denoiser(x, sigma.expand(len(x)), Cond())
        c_skip = SPREAD**2 / (sigma**2 + SPREAD**2)
        c_out = sigma * SPREAD / (sigma**2 + SPREAD**2) ** 0.5
        # Their step takes the raw network output and undoes the preconditioning itself.
        x = theirs.step((x0_hat - c_skip * x) / c_out, timestep, x).prev_sample
    torch.testing.assert_close(dpmpp_2m(GaussianDenoiser(), start(), sigmas, Cond()), x, rtol=0, atol=2e-5)


@pytest.mark.parametrize("solver", sorted(SOLVERS))
@pytest.mark.parametrize("steps", [1, 2, 3, 18])
def test_every_solver_asks_as_often_as_it_says(solver: str, steps: int) -> None:
    denoiser = GaussianDenoiser()
    SOLVERS[solver](denoiser, start(), karras_sigmas(steps), Cond(), draw=fresh)
    assert len(denoiser.levels) == solver_nfe(solver, steps)
    assert min(denoiser.levels) > 0
