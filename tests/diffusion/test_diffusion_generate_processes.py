"""Images from every process with every solver: seeds, starts, grids and refusals."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
from diffusion_nets import Net
from torch import nn

from sadm.core.conditions import Cond
from sadm.core.seeds import noise_per_image
from sadm.diffusion import (
    SOLVERS,
    AutoGuidance,
    EDMDenoiser,
    FlowDenoiser,
    SamplerSettings,
    VPDenoiser,
    VPSchedule,
    generate,
    image_seeds,
    karras_sigmas,
    prepare,
    sampling_times,
    schedule_sigmas,
    uniform_times,
)
from sadm.diffusion.generate import Grid
from sadm.diffusion.grids import Spacing
from sadm.training import config
from sadm.training.sampling import sampler_settings

SHAPE = (2, 4, 6)
LINEAR = VPSchedule.linear()
DENOISERS = {
    "edm": lambda: EDMDenoiser(Net(scale=1.0)),
    "vp": lambda: VPDenoiser(Net(), LINEAR, "x0"),
    "variance": lambda: VPDenoiser(Net(outputs=4), LINEAR, "v", learned_variance=True),
    "flow": lambda: FlowDenoiser(Net(scale=1.0)),
}
NATIVE = SamplerSettings(solver="dpmpp_2m", steps=4, grid="native", batch=3)


def draw(denoiser: nn.Module, settings: SamplerSettings, seeds: list[int]) -> torch.Tensor:
    return generate(denoiser, SHAPE, seeds, None, None, settings)


@pytest.mark.parametrize(("solver", "eta"), [*((solver, 0.0) for solver in SOLVERS), ("ddim", 1.0)])
@pytest.mark.parametrize("name", DENOISERS)
def test_an_image_depends_on_its_own_seed_alone(name: str, solver: str, eta: float) -> None:
    settings = dataclasses.replace(NATIVE, solver=solver, eta=eta)
    seeds = image_seeds(7, 5)
    images = draw(DENOISERS[name](), settings, seeds)
    assert images.shape == (5, *SHAPE)
    assert float(images.abs().max()) <= 1
    assert float(images.std()) > 0.05
    again = draw(DENOISERS[name](), dataclasses.replace(settings, batch=5), seeds)
    torch.testing.assert_close(again, images, rtol=0, atol=1e-5)
    backwards = draw(DENOISERS[name](), settings, seeds[::-1]).flip(0)
    torch.testing.assert_close(backwards, images, rtol=0, atol=1e-5)
    assert not torch.allclose(draw(DENOISERS[name](), settings, image_seeds(8, 5)), images, atol=1e-2)


def test_fresh_noise_changes_the_image_and_differs_from_step_to_step() -> None:
    seen: list[torch.Tensor] = []

    def nothing_known(x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
        seen.append(x_t / sigma[0])
        return torch.zeros_like(x_t)

    draw(nothing_known, SamplerSettings(solver="ddim", eta=1.0, steps=3), [4])  # type: ignore[arg-type]
    sigmas = karras_sigmas(3).tolist()
    expected = noise_per_image([4], SHAPE)
    torch.testing.assert_close(seen[0], expected)
    for step, (here, there) in enumerate(pairwise(sigmas[:-1])):
        kept = there / here
        expected = kept * expected + math.sqrt(1 - kept**2) * noise_per_image([4], SHAPE, f"step {step}")
        torch.testing.assert_close(seen[step + 1], expected, rtol=1e-4, atol=1e-5)


def test_the_start_is_the_noises_share_of_the_path() -> None:
    noise = noise_per_image([1, 2], SHAPE)
    for name, share in (
        ("edm", 80 / math.sqrt(80**2 + 0.25)),
        ("vp", math.sqrt(1 - LINEAR.alphas_cumprod[-1])),
        ("flow", 1),
    ):
        denoiser = DENOISERS[name]()
        draw(denoiser, dataclasses.replace(NATIVE, batch=2), [1, 2])
        torch.testing.assert_close(denoiser.net.seen[0][0], share * noise)


def test_a_schedule_that_ends_in_pure_noise_starts_there() -> None:
    schedule = VPSchedule(torch.cat([LINEAR.alphas_cumprod[:-1], torch.zeros(1, dtype=torch.float64)]))
    for solver in SOLVERS:
        denoiser = VPDenoiser(Net(), schedule, "v")
        images = draw(denoiser, dataclasses.replace(NATIVE, solver=solver), [1, 2])
        assert bool(images.isfinite().all())
        assert torch.equal(denoiser.net.seen[0][0], noise_per_image([1, 2], SHAPE))
        assert denoiser.net.seen[0][1].tolist() == [999, 999]
    with pytest.raises(ValueError, match="eps-prediction has no x0_hat at alpha = 0"):
        draw(VPDenoiser(Net(), schedule), NATIVE, [1])


def test_a_denoisers_unrelated_attributes_are_left_alone() -> None:
    class Named(nn.Module):
        path, schedule = "weights.pt", "cosine"

        def forward(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
            return 0 * x_t + 0.5

    assert torch.equal(draw(Named(), NATIVE, [1]), torch.full((1, *SHAPE), 0.5))


# ---- grids -----------------------------------------------------------------------------------------------------------


def test_native_grids() -> None:
    flow, vp, edm = DENOISERS["flow"](), DENOISERS["vp"](), DENOISERS["edm"]()
    assert torch.equal(sampling_times(flow, NATIVE), uniform_times(4))
    assert torch.equal(sampling_times(flow, dataclasses.replace(NATIVE, shift=3.0)), uniform_times(4, 3.0))
    assert torch.equal(sampling_times(edm, NATIVE), karras_sigmas(4))
    for spacing in ("trailing", "leading", "linspace"):
        found = sampling_times(vp, dataclasses.replace(NATIVE, spacing=spacing))
        torch.testing.assert_close(vp.path.sigma(found), schedule_sigmas(LINEAR, 4, spacing), rtol=1e-9, atol=0)


def test_a_networks_native_timesteps_are_whole() -> None:
    denoiser = DENOISERS["vp"]()
    draw(denoiser, NATIVE, [1])
    asked = [float(c_noise[0]) for _, c_noise in denoiser.net.seen]
    assert asked == pytest.approx([999, 749, 499, 249], abs=1e-3)


@pytest.mark.parametrize("name", DENOISERS)
def test_edms_noise_levels_serve_every_process(name: str) -> None:
    settings = dataclasses.replace(NATIVE, grid="karras", sigma_min=0.02)
    found = sampling_times(DENOISERS[name](), settings)
    torch.testing.assert_close(DENOISERS[name]().path.sigma(found), karras_sigmas(4, 0.02), rtol=1e-9, atol=0)
    draw(DENOISERS[name](), settings, [1])


@pytest.mark.parametrize("shift", [0.1, 0.2, 0.3, 0.45, 0.7, 3.0, 17.0])
def test_shifted_times_start_in_pure_noise_and_can_be_drawn_on(shift: float) -> None:
    assert float(uniform_times(20, shift)[0]) == 1.0
    settings = dataclasses.replace(NATIVE, shift=shift)
    assert draw(DENOISERS["flow"](), settings, [1]).isfinite().all()


def test_uniform_times_and_their_shift() -> None:
    assert uniform_times(4).tolist() == [1, 0.75, 0.5, 0.25, 0]
    shifted = uniform_times(4, 3.0)
    assert shifted.tolist() == pytest.approx([1, 0.9, 0.75, 0.5, 0])
    path = DENOISERS["flow"]().path
    torch.testing.assert_close(path.sigma(shifted[1:]), 3 * path.sigma(uniform_times(4)[1:]), rtol=1e-12, atol=0)


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("edm", {"solver": "rk4"}, "unknown solver 'rk4'; expected one of heun"),
        ("edm", {"grid": "cosine"}, "unknown grid 'cosine'; expected one of karras, native"),
        ("vp", {"spacing": "odd"}, "unknown spacing 'odd'; expected one of trailing, leading, linspace"),
        ("edm", {"solver": "ddim", "eta": 1.5}, r"eta must be in \[0, 1\], got 1.5"),
        ("edm", {"eta": 0.5}, "eta 0.5 has no meaning for solver 'dpmpp_2m'; use solver 'ddim', or eta 0"),
        ("vp", {"shift": 2.0}, "shift 2.0 applies to grid 'native' of a flow on straight lines"),
        ("flow", {"shift": 2.0, "grid": "karras"}, "shift 2.0 applies to grid 'native'"),
        ("flow", {"shift": -1.0}, "expected steps >= 1 and 0 < shift < inf, got steps 4, shift -1.0"),
        ("flow", {"steps": 0}, "expected steps >= 1"),
        ("vp", {"steps": 1001}, "expected 1 to 1000 steps with spacing 'trailing' of 1000 timesteps, got 1001"),
        ("vp", {"steps": 1, "spacing": "leading"}, "expected 2 to 1000 steps with spacing 'leading'"),
        ("vp", {"grid": "karras", "sigma_min": 200.0}, "0 < sigma_min < sigma_max < inf"),
        ("edm", {"guidance_low": 2.0, "guidance_high": 1.0}, "needs 0 <= low < high, got 2.0 to 1.0"),
        ("edm", {"guidance_scale": 2.0}, "has no null class. Use guidance_scale 1"),
        ("edm", {"batch": 0}, "batch must be at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_any_network_is_asked(
    name: str, change: dict[str, Any], message: str
) -> None:
    denoiser, settings = DENOISERS[name](), dataclasses.replace(NATIVE, **change)
    with pytest.raises(ValueError, match=message):
        draw(denoiser, settings, [1])
    with pytest.raises(ValueError, match=message):
        prepare(denoiser, None, settings)
    assert not denoiser.net.seen


def test_the_grid_of_edm_keeps_to_the_noise_levels_of_a_schedule() -> None:
    denoiser = VPDenoiser(torch.nn.Identity(), VPSchedule.linear())
    sigmas = denoiser.path.sigma(sampling_times(denoiser, SamplerSettings(grid="karras", steps=5, sigma_max=1e4)))
    assert float(sigmas[0]) == pytest.approx(denoiser.schedule.sigma_max)
    assert float(sigmas[-2]) == pytest.approx(denoiser.schedule.sigma_min)
    expected = karras_sigmas(5, denoiser.schedule.sigma_min, denoiser.schedule.sigma_max)
    torch.testing.assert_close(sigmas, expected)


# ---- configuration ---------------------------------------------------------------------------------------------------


def test_the_configuration_knows_every_solver_and_reaches_every_setting() -> None:
    assert set(get_args(config.Solver)) == set(SOLVERS)
    assert get_args(config.Grid) == get_args(Grid)
    assert get_args(config.Spacing) == get_args(Spacing)
    changed = config.SamplingConfig(
        solver="ddim", eta=0.5, grid="native", spacing="leading", shift=2.0, guidance_low=0.1, guidance_high=3.0
    )
    settings = sampler_settings(changed)
    assert dataclasses.asdict(settings) == {**changed.model_dump(), "clamp": True}
    assert not sampler_settings(changed, clamp=False).clamp
    assert settings.guidance_interval == (0.1, 3.0)
    assert sampler_settings(config.SamplingConfig()) == SamplerSettings()
    assert SamplerSettings().guidance_interval == (0, math.inf)


def test_a_configuration_from_before_loads() -> None:
    before = {"solver": "dpmpp_2m", "steps": 9, "guidance_scale": 1.0, "sigma_min": 0.02, "sigma_max": 20.0, "rho": 7.0}
    assert config.SamplingConfig.model_validate({**before, "batch": 256}).grid == "native"  # EDM's own: karras


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eta": 0.5}, "eta .* has no meaning for solver 'dpmpp_2m'"),
        ({"grid": "karras", "shift": 2.0}, "shift .* needs grid 'native'"),
        ({"guidance_low": 2.0, "guidance_high": 1.0}, "guidance_low .* must be below"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config.SamplingConfig(**change)


def test_a_weak_denoiser_is_asked_only_where_it_can_answer() -> None:
    flow, vp = FlowDenoiser(torch.nn.Identity()), VPDenoiser(torch.nn.Identity(), VPSchedule.linear())
    with pytest.raises(ValueError, match="pure noise"):
        prepare(flow, None, SamplerSettings(grid="native"), vp)
    with pytest.raises(ValueError, match="the weak denoiser can't be asked on this grid: .*noise levels sigma from"):
        prepare(flow, None, SamplerSettings(grid="karras"), vp)  # down to 0.002
    guided, times = prepare(flow, None, SamplerSettings(grid="karras", sigma_min=0.02), vp)
    assert isinstance(guided, AutoGuidance)
    assert len(times) == 21
