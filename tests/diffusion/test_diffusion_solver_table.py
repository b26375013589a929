"""Solvers as tables, against the solvers."""

from __future__ import annotations

import pytest
import torch

from sadm.core.conditions import Cond
from sadm.diffusion import karras_sigmas, uniform_times
from sadm.diffusion.on_path import x0_hat_at
from sadm.diffusion.path_denoiser import PathDenoiser
from sadm.diffusion.paths import Level, Path, StraightLine, VarianceExploding, VariancePreserving
from sadm.diffusion.prediction import Prediction
from sadm.diffusion.samplers import SOLVERS
from sadm.diffusion.solver_table import SolverTable, solver_table


class Bent(PathDenoiser):
    """A denoiser without a network, as far from linear as one may be."""

    def __init__(self, path: Path) -> None:
        super().__init__(torch.nn.Identity(), path)

    def estimate(self, z: torch.Tensor, sigma: Level, cond: Cond) -> Prediction:
        level = sigma if isinstance(sigma, torch.Tensor) else torch.tensor(sigma, dtype=z.dtype)
        return Prediction(torch.sin(3 * z) + torch.cos(torch.atan(level)).reshape(-1, 1, 1, 1) * z.flip(-1))

    def loss_weight(self, sigma: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


def followed(table: SolverTable, denoiser: Bent, noise: torch.Tensor) -> torch.Tensor:
    """The table as another program would follow it."""
    known = [noise]
    for level, row in zip(table.levels, table.mix, strict=True):
        z = sum(float(row[j]) * part for j, part in enumerate(known))
        levels = level.expand(len(noise))
        known.append(
            denoiser(z, levels, Cond()) if table.in_contract else x0_hat_at(denoiser, table.path, z, levels, Cond())
        )
    return sum(float(table.result[j]) * part for j, part in enumerate(known))


@pytest.mark.parametrize("name", ["heun", "euler", "ddim", "dpmpp_2m"])
@pytest.mark.parametrize(
    ("path", "native"),
    [
        (VarianceExploding(), False),
        (VariancePreserving(), False),
        (VariancePreserving(), True),
        (StraightLine(), False),
        (StraightLine(), True),
    ],
)
def test_a_table_leads_where_its_solver_does(name: str, path: Path, native: bool) -> None:
    times = uniform_times(5) if native else path.time(karras_sigmas(5, sigma_max=20.0))
    noise = torch.randn(3, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    denoiser = Bent(path)
    wanted = SOLVERS[name](denoiser, noise, times, Cond(), path)
    table = solver_table(SOLVERS[name], times, path)
    assert len(table.levels) == SOLVERS[name].nfe(5)
    assert table.in_contract != native
    assert torch.equal(table.mix.triu(1), torch.zeros_like(table.mix))  # nothing is used before it is known
    torch.testing.assert_close(followed(table, denoiser, noise), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "options"), [("ddpm", {}), ("dpmpp_2m_sde", {}), ("ddim", {"eta": 0.5})])
def test_what_draws_fresh_noise_has_no_table(name: str, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="fresh noise"):
        solver_table(SOLVERS[name], karras_sigmas(4), VarianceExploding(), **options)
