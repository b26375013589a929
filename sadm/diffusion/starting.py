"""Where a sampler of a path without an end starts: as if it came from sigma = inf, at no cost.

At a noise level sigma, a noisy image is ``x0 + sigma noise``. A solver that starts from ``sigma noise`` alone forgets x0. For
Gaussian data of mean m and standard deviation s along a direction, its samples' mean then is off by ``m s / sigma`` along it, and
the leading components of images are so wide that sigma = 80 does not hide that. The probability-flow ODE says what is missing: in
1 / sigma, ``x / sigma`` moves by x0_hat, which hardly changes beyond the first noise level; so, from sigma = inf, there arrives
``sigma noise + x0_hat``, up to the square of s / sigma. Its x0_hat is the answer that the solver asks for first in any case.
(That a start without the data's share harms samples: Lin et al. 2023, arXiv 2305.08891, for schedules of timesteps.)
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.around import Around, Ask
from sadm.diffusion.denoised import Denoiser
from sadm.diffusion.ode import CONTRACT
from sadm.diffusion.on_path import Draw, prediction_at
from sadm.diffusion.paths import Level, Path
from sadm.diffusion.prediction import Prediction
from sadm.diffusion.samplers import Solver, SolverFunction


def from_infinity(solver: Solver) -> Solver:
    """The solver, started as if it came from sigma = inf, with as many network evaluations.

    A grid that does start at sigma = inf is followed as it is.
    """
    return dataclasses.replace(solver, function=functools.partial(_begun, solver.function))


def _begun(
    function: SolverFunction,
    denoiser: Denoiser,
    noise: torch.Tensor,
    times: torch.Tensor,
    cond: Cond,
    path: Path = CONTRACT,
    draw: Draw | None = None,
    **options: Any,
) -> torch.Tensor:
    """Runs a solver's function from there."""
    start = float(times[0])
    sigma = path.sigma(start)
    if not math.isfinite(sigma):
        return function(denoiser, noise, times, cond, path, draw, **options)
    first = prediction_at(denoiser, path, noise * path.beta(start), start, cond)
    begun = noise + first.x0_hat / sigma  # of which solvers take beta times as much
    return function(_Answered(denoiser, first), begun, times, cond, path, draw, **options)


class _Answered(Around):
    """A denoiser that was asked its first question before: its answer there stands for that at the start that it leads to."""

    def __init__(self, denoiser: Denoiser, first: Prediction) -> None:
        super().__init__(denoiser)
        self.first: Prediction | None = first

    def answer(self, ask: Ask, z: torch.Tensor, alpha: Level, beta: Level, cond: Cond) -> Prediction:
        """The known answer, once; then the denoiser's own."""
        first, self.first = self.first, None
        return first or ask(z, cond)
