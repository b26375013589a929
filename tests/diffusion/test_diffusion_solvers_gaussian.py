"""Every solver on every path, for Gaussian data, whose flow and reverse process are known in closed form."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from diffusion_nets import GaussianOnPath, Net, normal

from sadm.core.conditions import Cond
from sadm.diffusion import (
    SOLVERS,
    EDMDenoiser,
    FlowDenoiser,
    Path,
    Prediction,
    StraightLine,
    VarianceExploding,
    VariancePreserving,
    VPDenoiser,
    VPSchedule,
    ddim,
    ddpm,
    dpmpp_2m,
    dpmpp_2m_sde,
    euler,
    heun,
    karras_sigmas,
    solver_nfe,
    uniform_times,
)

PATHS = [VarianceExploding(), VariancePreserving(), StraightLine()]
ENDING = PATHS[1:]
DETERMINISTIC = ["euler", "heun", "dpmpp_2m", "ddim"]
STOCHASTIC = ["ddpm", "dpmpp_2m_sde", "ddim"]
MEAN, SPREAD = 0.3, 0.5


def times_between(path: Path, steps: int) -> torch.Tensor:
    """From high noise to a little noise: smooth in the path's own time, and without the singular ends."""
    if path == VarianceExploding():
        return torch.logspace(1, -1.5, steps + 1, dtype=torch.float64)
    return torch.linspace(0.93, 0.04, steps + 1, dtype=torch.float64)


def along_the_flow(path: Path, noise: torch.Tensor, here: float, there: float) -> torch.Tensor:
    """z - alpha MEAN scales as the standard deviation of z."""

    def spread(t: float) -> float:
        return math.hypot(path.alpha(t) * SPREAD, path.beta(t))

    z = path.beta(here) * noise
    return path.alpha(there) * MEAN + spread(there) / spread(here) * (z - path.alpha(here) * MEAN)


def reverse(path: Path, z: torch.Tensor, here: float, there: float) -> tuple[torch.Tensor, float]:
    """Mean and variance of z_there given z_here, from their joint Gaussian: z_here is a scaled z_there plus fresh noise."""
    (a, b), (a_there, b_there) = ((path.alpha(t), path.beta(t)) for t in (here, there))
    var, var_there = a**2 * SPREAD**2 + b**2, a_there**2 * SPREAD**2 + b_there**2
    covariance = a / a_there * var_there
    return a_there * MEAN + covariance / var * (z - a * MEAN), var_there - covariance**2 / var


def order_of(errors: list[float]) -> list[float]:
    return [math.log2(before / after) for before, after in pairwise(errors)]


@pytest.mark.parametrize("path", PATHS, ids=repr)
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_last_step_to_zero_ends_at_the_estimate_on_every_path(name: str, steps: int, path: Path) -> None:
    """Of an image that is known for sure, no noise is left, however few the steps."""
    times = path.time(karras_sigmas(steps, 0.02, 20.0))
    found = SOLVERS[name](GaussianOnPath(path, MEAN, 0.0), normal(1), times, Cond(), path)
    torch.testing.assert_close(found, torch.full_like(found, MEAN), rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", PATHS, ids=repr)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_solvers_converge_with_their_order(name: str, path: Path) -> None:
    errors = []
    for steps in (32, 64, 128, 256):
        times = times_between(path, steps)
        found = SOLVERS[name](GaussianOnPath(path), normal(1), times, Cond(), path)
        expected = along_the_flow(path, normal(1), float(times[0]), float(times[-1]))
        errors.append(float((found - expected).abs().max()))
    assert order_of(errors) == pytest.approx([SOLVERS[name].order] * 3, abs=0.35), errors
    assert errors[-1] < (0.03 if SOLVERS[name].order == 1 else 1e-3)


@pytest.mark.parametrize("path", PATHS, ids=repr)
@pytest.mark.parametrize("name", STOCHASTIC)
def test_the_mean_given_the_start_is_exact_for_stochastic_solvers(name: str, path: Path) -> None:
    """Without their noise they follow the mean, since this denoiser is linear; each step's is a posterior's mean."""
    options = {"eta": 1.0} if name == "ddim" else {}
    times, noise = times_between(path, 5), normal(1)
    found = SOLVERS[name](
        GaussianOnPath(path), noise, times, Cond(), path, lambda step: torch.zeros_like(noise), **options
    )
    expected = reverse(path, path.beta(float(times[0])) * noise, float(times[0]), float(times[-1]))[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", PATHS, ids=repr)
@pytest.mark.parametrize("name", STOCHASTIC)
def test_the_variance_given_the_start_converges_with_the_solvers_order(name: str, path: Path) -> None:
    """Image k of the batch gets a one in step k and zeros in the others; the squares of the effects add up to the variance."""
    options = {"eta": 1.0} if name == "ddim" else {}
    errors = []
    for steps in (32, 64, 128, 256):
        times, noise = times_between(path, steps), torch.zeros(steps + 1, 1, 1, 1, dtype=torch.float64)
        ones = torch.eye(steps + 1, dtype=torch.float64)[:, :, None, None, None]
        found = SOLVERS[name](
            GaussianOnPath(path), noise, times, Cond(), path, lambda step, ones=ones: ones[step], **options
        )
        expected = reverse(path, noise[:1], float(times[0]), float(times[-1]))[1]
        errors.append(abs(float((found - found[-1:]).square().sum()) - expected) / expected)
    assert order_of(errors) == pytest.approx([SOLVERS[name].order] * 3, abs=0.35), errors


@pytest.mark.parametrize("path", ENDING, ids=repr)
@pytest.mark.parametrize("name", [*DETERMINISTIC, *STOCHASTIC[:2], "ddim eta 1"])
def test_samples_from_pure_noise_have_the_datas_mean_and_spread(name: str, path: Path) -> None:
    count, solver = 40_000, SOLVERS[name.split()[0]]
    noise = torch.randn(count, 1, 1, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    source = torch.Generator().manual_seed(4)

    def fresh(step: int) -> torch.Tensor:
        return torch.randn(noise.shape, generator=source, dtype=torch.float64)

    options = {"eta": 1.0} if name == "ddim eta 1" else {}
    steps = 250
    found = solver(GaussianOnPath(path), noise, uniform_times(steps), Cond(), path, fresh, **options)
    assert float(found.mean()) == pytest.approx(MEAN, abs=5 * SPREAD / math.sqrt(2 * count))
    bias = (2.5 if solver.order == 1 else 0.5) / steps
    assert float(found.std()) == pytest.approx(SPREAD, abs=5 * SPREAD / math.sqrt(4 * count) + SPREAD * bias)


class WithVariance(GaussianOnPath):
    """Says the true variance of a reverse step between two times, as the fraction that the contract asks for."""

    def __init__(self, path: Path, times: torch.Tensor) -> None:
        super().__init__(path)
        self.next = dict(pairwise(times.tolist()))

    def predict_at(self, z: torch.Tensor, t: float, cond: Cond) -> Prediction:
        path, there = self.path, self.next[t]
        (a, b), (a_there, b_there) = ((path.alpha(s), path.beta(s)) for s in (t, there))
        large = b**2 - (a / a_there * b_there) ** 2  # z_t = a / a_there z_there + sqrt(large) noise
        small, true = b_there**2 * large / b**2, reverse(path, z, t, there)[1]
        fraction = (math.log(true) - math.log(small)) / (math.log(large) - math.log(small))
        assert 0 <= fraction <= 1
        return Prediction(self.at(z, t, cond), torch.full_like(z, fraction))


@pytest.mark.parametrize("path", ENDING, ids=repr)
def test_ancestral_sampling_with_the_true_variance_is_exact_in_three_steps(path: Path) -> None:
    times, count = torch.tensor([1.0, 0.7, 0.4, 0.1], dtype=torch.float64), 100_000
    noise = torch.randn(count, 1, 1, 1, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    source = torch.Generator().manual_seed(6)

    def fresh(step: int) -> torch.Tensor:
        return torch.randn(noise.shape, generator=source, dtype=torch.float64)

    found = ddpm(WithVariance(path, times), noise, times, Cond(), path, fresh)
    expected = math.hypot(path.alpha(0.1) * SPREAD, path.beta(0.1))
    assert float(found.std()) == pytest.approx(expected, abs=5 * expected / math.sqrt(2 * count))
    assert float(found.mean()) == pytest.approx(path.alpha(0.1) * MEAN, abs=5 * expected / math.sqrt(count))
    poorer = ddpm(GaussianOnPath(path), noise, times, Cond(), path, fresh)
    assert abs(float(poorer.std()) - expected) > 20 * expected / math.sqrt(2 * count)


# ---- what ties solvers and paths to each other -----------------------------------------------------------------------


def fresh(step: int) -> torch.Tensor:
    return normal(50 + step)


@pytest.mark.parametrize("path", [VarianceExploding(), StraightLine()], ids=repr)
def test_euler_is_ddim_where_steps_are_straight(path: Path) -> None:
    denoiser, times = EDMDenoiser(Net(scale=1.0)), path.time(karras_sigmas(6, 0.05, 20.0))
    one, other = (solver(denoiser, normal(1), times, Cond(), path) for solver in (euler, ddim))
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_euler_is_not_ddim_on_the_circle() -> None:
    path = VariancePreserving()
    times = path.time(karras_sigmas(6, 0.05, 20.0))
    one, other = (solver(EDMDenoiser(Net(scale=1.0)), normal(1), times, Cond(), path) for solver in (euler, ddim))
    assert float((one - other).abs().max()) > 0.01


def test_ddim_with_eta_one_is_ancestral_sampling_with_the_smaller_variance() -> None:
    path, times = StraightLine(), uniform_times(6)
    denoiser = FlowDenoiser(Net(scale=1.0))
    one = ddim(denoiser, normal(1), times, Cond(), path, fresh, eta=1.0)
    torch.testing.assert_close(ddpm(denoiser, normal(1), times, Cond(), path, fresh), one, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpmpp_2m", "dpmpp_2m_sde"])
@pytest.mark.parametrize("path", ENDING, ids=repr)
def test_exponential_solvers_depend_on_the_noise_levels_alone(name: str, path: Path) -> None:
    sigmas = karras_sigmas(6, 0.05, 20.0)
    for denoiser in (EDMDenoiser(Net(scale=1.0)), FlowDenoiser(Net(scale=1.0)), VPDenoiser(Net(), VPSchedule.linear())):
        expected = SOLVERS[name](denoiser, normal(1), sigmas, Cond(), draw=fresh)
        found = SOLVERS[name](denoiser, normal(1), path.time(sigmas), Cond(), path, fresh)
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", SOLVERS)
def test_pure_noise_is_the_limit_of_high_noise(name: str) -> None:
    path, denoiser = StraightLine(), FlowDenoiser(Net(scale=1.0))
    inf = SOLVERS[name](denoiser, normal(1), uniform_times(5), Cond(), path, fresh)
    times = uniform_times(5)
    times[0] = 1 - 1e-9
    near = SOLVERS[name](denoiser, normal(1), times, Cond(), path, fresh)
    # dpmpp_2m's second step extrapolates over the first one's width in ln sigma, which grows without bound only slowly.
    tolerance = 0.05 if name.startswith("dpmpp") else 1e-6
    torch.testing.assert_close(inf, near, rtol=0, atol=tolerance)
    assert inf.isfinite().all()


def test_dpmpps_first_steps_from_pure_noise_are_ddims() -> None:
    path, denoiser = StraightLine(), FlowDenoiser(Net(scale=1.0))
    times = uniform_times(5)[:3]
    one, other = (solver(denoiser, normal(1), times, Cond(), path) for solver in (dpmpp_2m, ddim))
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    times = uniform_times(5)[:4]
    one, other = (solver(denoiser, normal(1), times, Cond(), path) for solver in (dpmpp_2m, ddim))
    assert float((one - other).abs().max()) > 1e-4


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("name", SOLVERS)
def test_network_evaluations_are_counted_right_on_a_path(name: str, steps: int) -> None:
    denoiser = GaussianOnPath(StraightLine())
    SOLVERS[name](denoiser, normal(1), uniform_times(steps), Cond(), denoiser.path, fresh)
    assert len(denoiser.times) == SOLVERS[name].nfe(steps) == solver_nfe(name, steps)
    assert min(denoiser.times) > 0


@pytest.mark.parametrize("name", SOLVERS)
def test_samples_keep_their_dtype_on_a_path(name: str) -> None:
    denoiser, noise = FlowDenoiser(Net(scale=1.0)), normal(1).float()
    found = SOLVERS[name](denoiser, noise, uniform_times(4), Cond(), denoiser.path, fresh)
    assert found.dtype == torch.float32
    exact = SOLVERS[name](denoiser, noise.double(), uniform_times(4), Cond(), denoiser.path, fresh)
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-5)


# ---- bad input -------------------------------------------------------------------------------------------------------


def test_sigma_infinite_is_refused_where_a_denoiser_cant_be_asked() -> None:
    schedule = VPSchedule.linear()
    for name, solver in SOLVERS.items():
        for denoiser in (EDMDenoiser(Net()), VPDenoiser(Net(), schedule), lambda x_t, sigma, cond: x_t):
            with pytest.raises(
                ValueError, match=r"at time 1 of StraightLine\(\), alpha is 0 and sigma inf.*Start at an earlier"
            ):
                solver(denoiser, normal(1), uniform_times(3), Cond(), StraightLine(), fresh)
        if name != "ddpm":
            with pytest.raises(ValueError, match="eps-prediction has no x0_hat at alpha = 0"):
                solver(VPDenoiser(Net(), schedule), normal(1), uniform_times(3), Cond(), VariancePreserving(), fresh)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize(
    "times",
    [[1.0], [], [0.5, 0.7, 0.0], [0.5, 0.5, 0.0], [0.5, -0.1], [1.1, 0.0], [math.nan, 0.0], [[0.5, 0.0]]],
    ids=str,
)
def test_times_that_make_no_sense_are_refused(name: str, times: list[float]) -> None:
    with pytest.raises(ValueError, match=r"expected at least 2 times that fall, from at most 1 to 0 or above"):
        SOLVERS[name](FlowDenoiser(Net()), normal(1), torch.tensor(times), Cond(), StraightLine(), fresh)


def test_infinite_noise_levels_are_refused_on_the_variance_exploding_path() -> None:
    with pytest.raises(ValueError, match="expected at least 2 times that fall, from at most inf"):
        heun(EDMDenoiser(Net()), normal(1), torch.tensor([math.inf, 1.0, 0.0]), Cond())


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_an_eta_out_of_range_is_refused(eta: float) -> None:
    with pytest.raises(ValueError, match=r"eta must be in \[0, 1\], got"):
        ddim(FlowDenoiser(Net()), normal(1), uniform_times(3), Cond(), StraightLine(), fresh, eta=eta)


@pytest.mark.parametrize("solver", [ddpm, dpmpp_2m_sde])
def test_stochastic_solvers_need_noise_of_the_right_shape(solver) -> None:
    denoiser = FlowDenoiser(Net())
    with pytest.raises(ValueError, match=r"adds noise at each step: give draw\(step\)"):
        solver(denoiser, normal(1), uniform_times(3), Cond(), denoiser.path)
    with pytest.raises(ValueError, match=r"draw\(0\) gave shape \(3, 2, 4\); expected \(3, 2, 4, 6\)"):
        solver(denoiser, normal(1), uniform_times(3), Cond(), denoiser.path, lambda step: normal(1)[..., 0])
    with pytest.raises(ValueError, match="ddim with eta > 0 adds noise at each step"):
        ddim(denoiser, normal(1), uniform_times(3), Cond(), denoiser.path, eta=0.5)
    ddim(denoiser, normal(1), uniform_times(3), Cond(), denoiser.path)
