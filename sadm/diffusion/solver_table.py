"""A deterministic solver as a table of numbers, for runtimes that are to follow it without its code.

Between two answers of the network, such a solver only adds multiples of the noise and of the answers so far. Those multiples
are found by running the solver itself on unit vectors, so that there is no second copy of its formulas.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.paths import Level, Path
from sadm.diffusion.prediction import Prediction
from sadm.diffusion.samplers import Solver


@dataclasses.dataclass(frozen=True)
class SolverTable:
    """A solver's course over K network evaluations; all tensors are float64.

    The k-th evaluation is asked at ``sum_j mix[k, j] known[j]``, known = (noise, first answer, second answer, …).

    Attributes:
        path: in whose coordinates it is asked, when not `in_contract`.
        in_contract: whether the evaluations are of the contract, ``denoiser(x_t, sigma, cond)``; otherwise they are of ``at``,
            z at times of the path, since the grid begins at sigma = inf.
        levels: noise levels, or times of the path [K].
        mix: [K, K + 1], zero from column k + 1 on.
        result: the end as such a sum [K + 1].
    """

    path: Path
    in_contract: bool
    levels: torch.Tensor
    mix: torch.Tensor
    result: torch.Tensor


def solver_table(solver: Solver, times: torch.Tensor, path: Path, **options: Any) -> SolverTable:
    """The table of a solver on a grid.

    Args:
        solver: of `SOLVERS`, with its start.
        times: falling times of the path [steps + 1], ending in 0.
        path: in whose coordinates to integrate.
        options: of the solver, such as ``eta``.

    Raises:
        ValueError: it draws fresh noise, or as the solver.
    """
    evaluations = solver.nfe(len(times) - 1)
    probe = _Probe(path, evaluations)
    start = torch.zeros(1, evaluations + 1, 1, 1, dtype=torch.float64)
    start[0, 0] = 1
    end = solver(probe, start, times, Cond(), path, _refuse_noise, **options)
    times_asked = [time for time, _ in probe.asked]
    mix = torch.stack([z for _, z in probe.asked])  # [K, K + 1]
    sigmas = [path.sigma(time) for time in times_asked]
    in_contract = all(map(math.isfinite, sigmas))
    if in_contract:  # asked at x_t = z / alpha
        mix = mix / torch.tensor([path.alpha(time) for time in times_asked], dtype=torch.float64)[:, None]
    levels = torch.tensor(sigmas if in_contract else times_asked, dtype=torch.float64)
    return SolverTable(path, in_contract, levels, mix, end.flatten())


class _Probe:
    """A denoiser of unit vectors [1, K + 1, 1, 1], which keeps what it was asked; its k-th answer is the unit vector k + 1."""

    def __init__(self, path: Path, evaluations: int) -> None:
        self.path, self.evaluations = path, evaluations
        self.asked: list[tuple[float, torch.Tensor]] = []

    def __call__(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
        """The contract, which solvers on the variance-exploding path use."""
        return self._answer(x_t, float(sigma[0]))

    def at(self, z: torch.Tensor, t: Level, cond: Cond) -> torch.Tensor:
        """What they use on others."""
        return self._answer(z, float(t))

    def predict(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> Prediction:
        """As the contract, without a variance."""
        return Prediction(self(x_t, sigma, cond))

    def predict_at(self, z: torch.Tensor, t: Level, cond: Cond) -> Prediction:
        """As `at`, without a variance."""
        return Prediction(self.at(z, t, cond))

    def _answer(self, z: torch.Tensor, time: float) -> torch.Tensor:
        self.asked.append((time, z.flatten().clone()))
        answer = torch.zeros(1, self.evaluations + 1, 1, 1, dtype=torch.float64)
        answer[0, len(self.asked)] = 1
        return answer


def _refuse_noise(step: int) -> torch.Tensor:
    raise ValueError("a solver that draws fresh noise at each step has no table")
