"""The solvers by name, and what is known about each. All are called alike, and each works on every path."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.denoised import Denoiser
from sadm.diffusion.grids import karras_sigmas
from sadm.diffusion.ode import CONTRACT, dpmpp_2m, euler, heun
from sadm.diffusion.on_path import Draw
from sadm.diffusion.paths import Path
from sadm.diffusion.stochastic import ddim, ddpm, dpmpp_2m_sde

__all__ = [
    "SOLVERS", "Solver", "ddim", "ddpm", "dpmpp_2m", "dpmpp_2m_sde", "euler", "heun", "heun_nfe", "karras_sigmas", "solver_nfe",
]  # fmt: skip


class SolverFunction(Protocol):
    """How every solver is called; `ddim` takes ``eta`` besides."""

    def __call__(
        self,
        denoiser: Denoiser,
        noise: torch.Tensor,
        times: torch.Tensor,
        cond: Cond,
        path: Path = CONTRACT,
        draw: Draw | None = None,
    ) -> torch.Tensor: ...


@dataclasses.dataclass(frozen=True)
class Solver:
    """A solver and its properties; calling it runs it.

    Attributes:
        title: its name in print.
        function: runs it.
        evaluations: of the network in a step; the last step takes one.
        stochastic: it needs ``draw`` (`ddim` only when eta > 0).
        order: the error shrinks as the step width to this power; for stochastic ones, that of the mean given the start.
        takes_eta: it has the parameter ``eta``.
    """

    title: str
    function: SolverFunction
    evaluations: int = 1
    stochastic: bool = False
    order: int = 1
    takes_eta: bool = False

    def __call__(self, *args: Any, **options: Any) -> torch.Tensor:
        return self.function(*args, **options)

    def nfe(self, steps: int) -> int:
        """Network evaluations of `steps` steps that end at 0."""
        return self.evaluations * (steps - 1) + 1


SOLVERS: dict[str, Solver] = {
    "heun": Solver("Heun", heun, evaluations=2, order=2),
    "dpmpp_2m": Solver("DPM-Solver++(2M)", dpmpp_2m, order=2),
    "dpmpp_2m_sde": Solver("SDE-DPM-Solver++(2M)", dpmpp_2m_sde, stochastic=True, order=2),
    "euler": Solver("Euler", euler),
    "ddim": Solver("DDIM", ddim, stochastic=True, takes_eta=True),
    "ddpm": Solver("DDPM (ancestral)", ddpm, stochastic=True),
}


def heun_nfe(steps: int) -> int:
    """Network evaluations of `heun` with `steps` steps; the last step, to sigma = 0, is an Euler step."""
    return SOLVERS["heun"].nfe(steps)


def solver_nfe(solver: str, steps: int) -> int:
    """Network evaluations of `steps` steps of a solver in `SOLVERS`."""
    return SOLVERS[solver].nfe(steps)
