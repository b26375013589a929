"""Solvers against diffusers' schedulers, on the same nonlinear network, grid and noise.

The schedulers are given our alphas_cumprod in float64 where they compute with them; those that round their noise levels or the
sample to float32 are compared with a tolerance for that. All predict without clipping.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusion_nets import SHAPE, Net, normal

from sadm.core.conditions import Cond
from sadm.diffusion import (
    EDMDenoiser,
    FlowDenoiser,
    StraightLine,
    VPDenoiser,
    VPSchedule,
    ddim,
    ddpm,
    dpmpp_2m,
    dpmpp_2m_sde,
    euler,
    heun,
    karras_sigmas,
    schedule_sigmas,
    spaced_timesteps,
    uniform_times,
)

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install -e '.[dev]'")

SCHEDULE = VPSchedule.linear()
NOISE = normal(20)
EXACT = {"rtol": 1e-9, "atol": 1e-9}
NAMES = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}


def fresh(step: int) -> torch.Tensor:
    return normal(100 + step)


def assert_close_in_float32(found: torch.Tensor, expected: torch.Tensor) -> None:
    """To a few roundings of the largest value."""
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=3e-6 * float(expected.abs().max()))


def theirs(name: str, **options: Any) -> Any:
    scheduler = getattr(diffusers, name)(num_train_timesteps=1000, **options)
    scheduler.alphas_cumprod = SCHEDULE.alphas_cumprod.clone()
    return scheduler


def ours(
    solver: Callable[..., torch.Tensor], denoiser: VPDenoiser, steps: int, spacing: str, **options: Any
) -> torch.Tensor:
    """Starts, as they do, from a z that is the noise itself."""
    times = denoiser.path.time(schedule_sigmas(SCHEDULE, steps, spacing))  # type: ignore[arg-type]
    start = NOISE / denoiser.path.beta(float(times[0]))
    return solver(denoiser, start, times, Cond(), denoiser.path, **options)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("prediction", NAMES)
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim(eta: float, prediction: str, spacing: str) -> None:
    scheduler = theirs("DDIMScheduler", prediction_type=NAMES[prediction], clip_sample=False, timestep_spacing=spacing)
    scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    scheduler.set_timesteps(10)
    net, z = Net(), NOISE
    for step, timestep in enumerate(scheduler.timesteps):
        output = net(z, timestep.expand(len(z)).double(), Cond())
        z = scheduler.step(output, timestep, z, eta=eta, variance_noise=fresh(step)).prev_sample
    found = ours(ddim, VPDenoiser(Net(), SCHEDULE, prediction), 10, spacing, draw=fresh, eta=eta)
    torch.testing.assert_close(found, z, **EXACT)


@pytest.mark.parametrize("prediction", NAMES)
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("spacing", ["leading", "linspace"])  # both end at timestep 0, where they add no noise either
def test_ddpm(spacing: str, learned: bool, prediction: str) -> None:
    scheduler = theirs(
        "DDPMScheduler", prediction_type=NAMES[prediction], clip_sample=False, timestep_spacing=spacing,
        variance_type="learned_range" if learned else "fixed_small",
    )  # fmt: skip
    scheduler.set_timesteps(12)
    net, z, source = Net(outputs=4 if learned else 2), NOISE, torch.Generator().manual_seed(5)
    for timestep in scheduler.timesteps:
        output = net(z, timestep.expand(len(z)).double(), Cond())
        z = scheduler.step(output, timestep, z, generator=source).prev_sample
    again = torch.Generator().manual_seed(5)
    draws = [torch.randn(SHAPE, generator=again, dtype=torch.float64) for _ in range(11)]
    denoiser = VPDenoiser(Net(outputs=4 if learned else 2), SCHEDULE, prediction, learned_variance=learned)
    torch.testing.assert_close(ours(ddpm, denoiser, 12, spacing, draw=lambda step: draws[step]), z, **EXACT)


@pytest.mark.parametrize("stochastic", [False, True], ids=["dpmsolver++", "sde-dpmsolver++"])
@pytest.mark.parametrize("prediction", NAMES)
@pytest.mark.parametrize("steps", [4, 20])
def test_dpm_solver_on_timesteps(steps: int, prediction: str, stochastic: bool) -> None:
    """solver_order 2, midpoint, final_sigmas_type zero (whose last step is of first order), lower_order_final false."""
    scheduler = theirs(
        "DPMSolverMultistepScheduler", prediction_type=NAMES[prediction], solver_order=2, solver_type="midpoint",
        algorithm_type="sde-dpmsolver++" if stochastic else "dpmsolver++", timestep_spacing="trailing",
        final_sigmas_type="zero", lower_order_final=False, euler_at_final=False,
    )  # fmt: skip
    scheduler.set_timesteps(steps)
    assert scheduler.timesteps.tolist() == spaced_timesteps(1000, steps, "trailing").tolist()
    torch.testing.assert_close(
        scheduler.sigmas.double(), schedule_sigmas(SCHEDULE, steps, "trailing"), rtol=1e-6, atol=0
    )
    scheduler.sigmas = schedule_sigmas(SCHEDULE, steps, "trailing")  # in float64; their sample stays float32
    net, z = Net(), NOISE
    for step, timestep in enumerate(scheduler.timesteps):
        output = net(z, timestep.expand(len(z)).double(), Cond())
        z = scheduler.step(output, timestep, z, variance_noise=fresh(step)).prev_sample
    solver = dpmpp_2m_sde if stochastic else dpmpp_2m
    found = ours(solver, VPDenoiser(Net(), SCHEDULE, prediction), steps, "trailing", draw=fresh)
    assert_close_in_float32(found, z)


@pytest.mark.parametrize("stochastic", [False, True], ids=["dpmsolver++", "sde-dpmsolver++"])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_dpm_solver_on_straight_lines(shift: float, stochastic: bool) -> None:
    """As above with use_flow_sigmas; on their grid, which starts at 0.999, below pure noise."""
    scheduler = diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, solver_order=2, solver_type="midpoint",
        algorithm_type="sde-dpmsolver++" if stochastic else "dpmsolver++", final_sigmas_type="zero", lower_order_final=False,
    )  # fmt: skip
    scheduler.set_timesteps(9)
    net, z = Net(scale=1.0), NOISE * float(scheduler.sigmas[0])
    for step, t in enumerate(scheduler.sigmas[:-1]):
        scheduler._step_index = step  # their timesteps are whole numbers, which two steps may share
        z = scheduler.step(net(z, t.expand(len(z)).double(), Cond()), 0, z, variance_noise=fresh(step)).prev_sample
    solver = dpmpp_2m_sde if stochastic else dpmpp_2m
    found = solver(FlowDenoiser(Net(scale=1.0)), NOISE, scheduler.sigmas.double(), Cond(), StraightLine(), fresh)
    assert_close_in_float32(found, z)


def test_sde_dpm_solver_on_edm() -> None:
    scheduler = diffusers.EDMDPMSolverMultistepScheduler(
        sigma_min=0.02, sigma_max=20.0, sigma_data=0.5, solver_order=2, final_sigmas_type="zero", solver_type="midpoint",
        algorithm_type="sde-dpmsolver++", lower_order_final=False,
    )  # fmt: skip
    scheduler.set_timesteps(8)
    sigmas = scheduler.sigmas.double()
    denoiser, x, source = EDMDenoiser(Net(scale=1.0)), NOISE * sigmas[0], torch.Generator().manual_seed(6)
    for sigma, timestep in zip(sigmas[:-1], scheduler.timesteps, strict=True):
        c_skip, c_out, _, _ = denoiser.coefficients(sigma)
        output = (denoiser(x, sigma.expand(len(x)), Cond()) - c_skip * x) / c_out
        x = scheduler.step(output, timestep, x, generator=source).prev_sample
    again = torch.Generator().manual_seed(6)
    draws = [torch.randn(SHAPE, generator=again, dtype=torch.float64) for _ in range(8)]
    found = dpmpp_2m_sde(denoiser, NOISE, sigmas, Cond(), draw=lambda step: draws[step])
    assert_close_in_float32(found, x)


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_heun_on_the_noise_levels_of_timesteps(prediction: str) -> None:
    """Their Heun integrates in sigma, that is on the variance-exploding path: the VP denoiser through the contract."""
    scheduler = theirs("HeunDiscreteScheduler", prediction_type=NAMES[prediction], timestep_spacing="trailing")
    scheduler.set_timesteps(7)
    net, x = Net(), NOISE * float(scheduler.sigmas[0])
    for timestep in scheduler.timesteps:
        z = scheduler.scale_model_input(x, timestep)
        x = scheduler.step(net(z, timestep.expand(len(z)).double(), Cond()), timestep, x).prev_sample
    sigmas = schedule_sigmas(SCHEDULE, 7, "trailing")
    found = heun(VPDenoiser(net, SCHEDULE, prediction), NOISE, sigmas, Cond())
    assert_close_in_float32(found, x)


def test_heun_on_edms_grid() -> None:
    scheduler = diffusers.HeunDiscreteScheduler(prediction_type="sample")
    scheduler.set_timesteps(6)
    sigmas = karras_sigmas(6, 0.02, 10.0)
    scheduler.sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    denoiser, x = EDMDenoiser(Net(scale=1.0)), NOISE * sigmas[0]
    asked = [0, *(i for i in range(1, 6) for _ in range(2))]
    for index, timestep in zip(asked, scheduler.timesteps, strict=True):
        x = scheduler.step(denoiser(x, sigmas[index].expand(len(x)), Cond()), timestep, x).prev_sample
    torch.testing.assert_close(heun(denoiser, NOISE, sigmas, Cond()), x, **EXACT)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("solver", [euler, ddim])
def test_euler_on_straight_lines(solver: Callable[..., torch.Tensor], shift: float) -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=[1 - i / 9 for i in range(9)])
    times = uniform_times(9, shift)
    torch.testing.assert_close(scheduler.sigmas.double(), times, rtol=0, atol=1e-7)
    net, z = Net(scale=1.0), NOISE.float()
    for t, timestep in zip(times[:-1], scheduler.timesteps, strict=True):
        z = scheduler.step(net(z.double(), t.expand(len(z)), Cond()).float(), timestep, z).prev_sample
    found = solver(FlowDenoiser(net), NOISE, times, Cond(), StraightLine())
    assert_close_in_float32(found, z)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize(("total", "steps"), [(1000, 10), (1000, 7), (1000, 27), (1000, 250), (1000, 1000), (50, 3)])
def test_timestep_spacings(total: int, steps: int, spacing: str) -> None:
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=total, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    found = spaced_timesteps(total, steps, spacing)  # type: ignore[arg-type]
    assert found.tolist() == scheduler.timesteps.tolist()
    assert found.dtype == torch.int64


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_schedules(name: str) -> None:
    scheduler = diffusers.DDPMScheduler(beta_schedule={"linear": "linear", "cosine": "squaredcos_cap_v2"}[name])
    found = getattr(VPSchedule, name)()
    torch.testing.assert_close(found.alphas_cumprod, scheduler.alphas_cumprod.double(), rtol=2e-4, atol=1e-9)
    again = VPSchedule.from_betas(scheduler.betas)
    torch.testing.assert_close(again.alphas_cumprod, scheduler.alphas_cumprod.double(), rtol=2e-4, atol=1e-9)
