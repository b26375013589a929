"""Sampling from sigma = inf, against Gaussian data, whose flow from there is known in closed form."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from diffusion_nets import GaussianOnPath

from sadm.core.conditions import Cond
from sadm.diffusion import (
    SOLVERS,
    Path,
    SamplerSettings,
    StraightLine,
    VarianceExploding,
    VariancePreserving,
    from_infinity,
    generate,
    image_seeds,
    karras_sigmas,
    uniform_times,
)
from sadm.diffusion.solver_table import solver_table

MEAN, SPREAD = 3.0, 1.5
NOISE = torch.linspace(-2, 2, 5, dtype=torch.float64).reshape(5, 1, 1, 1)
ENDED = MEAN + SPREAD * NOISE
"""Where the flow takes this noise of sigma = inf."""


def drawn(name: str, sigma: float, begins: bool, path: Path | None = None, steps: int = 400) -> torch.Tensor:
    path = path or VarianceExploding()
    solver = from_infinity(SOLVERS[name]) if begins else SOLVERS[name]
    times = path.time(karras_sigmas(steps, sigma_max=sigma))
    return solver(GaussianOnPath(path, MEAN, SPREAD), NOISE, times, Cond(), path)


@pytest.mark.parametrize("path", [VarianceExploding(), VariancePreserving()], ids=str)
@pytest.mark.parametrize("name", ["heun", "dpmpp_2m"])
def test_the_mean_arrives(name: str, path: Path) -> None:
    """Noise alone is off by m s / sigma; what is left here falls with the third power of sigma."""
    far, near = 24.0, 12.0
    alone = [float(drawn(name, sigma, False, path).mean()) - MEAN for sigma in (near, far)]
    begun = [float(drawn(name, sigma, True, path).mean()) - MEAN for sigma in (near, far)]
    for sigma, off in zip((near, far), alone, strict=True):
        assert off == pytest.approx(-MEAN * SPREAD / math.hypot(SPREAD, sigma), rel=0.02)
    assert abs(begun[0]) < abs(alone[0]) / 20
    assert math.log2(begun[0] / begun[1]) == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize("name", ["heun", "dpmpp_2m", "euler"])
def test_each_image_arrives_where_the_flow_takes_it(name: str) -> None:
    begun, alone = (float((drawn(name, 20.0, begins) - ENDED).abs().max()) for begins in (True, False))
    assert begun < alone / 8


class Counted(GaussianOnPath):
    """Counts calls of the contract, too."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.calls = 0

    def __call__(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
        self.calls += 1
        return super().__call__(x_t, sigma, cond)


@pytest.mark.parametrize("name", SOLVERS)
def test_it_costs_no_evaluation(name: str) -> None:
    denoiser, noise = Counted(VarianceExploding()), NOISE.float()
    solver = from_infinity(SOLVERS[name])
    solver(denoiser, noise, karras_sigmas(6), Cond(), VarianceExploding(), lambda step: torch.zeros_like(noise))
    assert denoiser.calls == solver.nfe(6) == SOLVERS[name].nfe(6)


@pytest.mark.parametrize("name", ["heun", "dpmpp_2m"])
def test_a_grid_from_infinity_is_followed_as_it_is(name: str) -> None:
    path, times = StraightLine(), uniform_times(5)
    denoiser = GaussianOnPath(path, MEAN, SPREAD)
    own, begun = (
        solver(denoiser, NOISE, times, Cond(), path) for solver in (SOLVERS[name], from_infinity(SOLVERS[name]))
    )
    assert torch.equal(own, begun)


@pytest.mark.parametrize("name", ["heun", "euler", "ddim", "dpmpp_2m"])
@pytest.mark.parametrize("path", [VarianceExploding(), VariancePreserving()], ids=str)
def test_its_table_leads_where_it_does(name: str, path: Path) -> None:
    times = path.time(karras_sigmas(5, sigma_max=20.0))
    solver, denoiser = from_infinity(SOLVERS[name]), GaussianOnPath(path, MEAN, SPREAD)
    table = solver_table(solver, times, path)
    known = [NOISE]
    for level, row in zip(table.levels, table.mix, strict=True):
        x_t = sum(float(factor) * part for factor, part in zip(row, known, strict=False))
        known.append(denoiser(x_t, level.expand(len(NOISE)), Cond()))
    found = sum(float(factor) * part for factor, part in zip(table.result, known, strict=True))
    torch.testing.assert_close(found, solver(denoiser, NOISE, times, Cond(), path), rtol=1e-9, atol=1e-9)


def test_by_default_where_a_path_has_no_end() -> None:
    """EDM's begins at infinity; a schedule of timesteps, and the straight line, at their own ends."""
    seeds = image_seeds(0, 3)
    settings = SamplerSettings(steps=4, sigma_max=5.0, clamp=False)

    def images(denoiser: object, **change: object) -> torch.Tensor:
        return generate(denoiser, (1, 2, 2), seeds, None, None, dataclasses.replace(settings, **change))  # type: ignore[arg-type]

    edm = GaussianOnPath(VarianceExploding(), MEAN, SPREAD)
    assert torch.equal(images(edm), images(edm, from_infinity=True))
    assert float((images(edm) - images(edm, from_infinity=False)).abs().min()) > 0.1
    line = GaussianOnPath(StraightLine(), MEAN, SPREAD)
    assert torch.equal(images(line), images(line, from_infinity=False))
    assert settings.solver_on(VariancePreserving()) is SOLVERS["dpmpp_2m"]
