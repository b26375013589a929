"""Restoring what a known linear map has left out: what was measured fixes one part of the image, the rest is drawn.

The division is that of Wang et al. 2023, "DDNM", arXiv 2212.00490: of x, ``A^+ A x`` is known, and the null space's part
``x - A^+ A x`` is the denoiser's. The known part is put into z at each noise level, as `inpaint` does for pixels, between any two
times of any path; operators are those whose singular values are all one number.

Where what was measured is noisy itself, z has that noise and as much more as is missing up to its level; below y's own level z
goes on freely (as in Kawar et al. 2022, "DDRM", arXiv 2201.11793). DDNM's own rule for noise, "DDNM+", counts y's noise in each
step as if it were new; since it is the same in all of them, the more steps there are, the more of it is fitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.denoised import Denoiser
from sadm.diffusion.held import held_sampling
from sadm.diffusion.ode import CONTRACT
from sadm.diffusion.on_path import Draw, checked_times
from sadm.diffusion.operators import Projecting
from sadm.diffusion.paths import Path

_SAME = 1e-9  # relative difference of noise levels that rounding may leave


def null_space(
    denoiser: Denoiser,
    noise: torch.Tensor,
    times: torch.Tensor,
    cond: Cond,
    path: Path = CONTRACT,
    draw: Draw | None = None,
    *,
    operator: Projecting,
    measured: torch.Tensor,
    noise_level: float = 0.0,
    resample: int = 1,
    jump: int = 1,
) -> torch.Tensor:
    """Draws images x with ``A x = y``, or, where y is noisy, such that it is explained by noise of that level.

    With much resampling at small noise the samples are those of the conditional distribution. For data that are independent
    Gaussian pixels, and for noise alone (A = 1) with any data, they are without it.

    Args:
        denoiser: the contract; put it in eval mode first.
        noise: unit Gaussian [B, C, H, W].
        times: falling times of the path [steps + 1], usually ending in 0; that of y's own level is added to them.
        cond: conditioning of the batch.
        path: in whose coordinates z is kept.
        draw: ``draw(step) -> unit Gaussian [B, C, H, W]``; steps are counted on beyond those of the grid.
        operator: A.
        measured: y, in the shape of ``operator(noise)``.
        noise_level: standard deviation of y's noise.
        resample, jump: see `visits`, which DDNM calls time travel; at noise levels above y's alone.

    Returns:
        z at the last time [B, C, H, W], in the dtype of `noise`, not clamped.

    Raises:
        ValueError: y in another shape, a noise level below 0, no `draw`, and as `visits` and `ddpm`.
    """
    check_measured(operator(noise), measured, noise_level)
    known, of_known = (
        operator.inverse(measured.to(noise)),
        noise_level / operator.scale,
    )  # along each direction that A keeps

    def put_back(z: torch.Tensor, time: float, fresh: Callable[[], torch.Tensor]) -> torch.Tensor:
        alpha, beta = path.alpha(time), path.beta(time)
        if beta < alpha * of_known * (1 - _SAME):
            return z
        added = math.sqrt(max(0.0, beta**2 - (alpha * of_known) ** 2))
        put = alpha * known + added * operator.kept(fresh()) if added else alpha * known
        return z - operator.kept(z) + put

    times, last = with_level(checked_times(times, path), path, of_known), of_known * (1 - _SAME)
    return held_sampling(
        denoiser, noise, times, cond, path, draw, put_back, resample, jump, "null-space sampling", last
    )


def with_level(grid: Sequence[float], path: Path, sigma: float) -> torch.Tensor:
    """Falling times with that of a noise level among them, unless it is there or beyond the noisiest or the least noisy above 0.

    What was measured with noise is exact at its own level alone: at a noisier one it is known under more noise than it has.
    """
    sigmas = [path.sigma(time) for time in grid]
    above = sum(there > sigma * (1 + _SAME) for there in sigmas)
    inside = above and any(0 < there < sigma * (1 - _SAME) for there in sigmas)
    there = inside and sigmas[above] > sigma * (1 - _SAME)
    own = [path.time(sigma)] if inside and not there else []
    return torch.tensor([*grid[:above], *own, *grid[above:]], dtype=torch.float64)


def check_measured(expected: torch.Tensor, measured: torch.Tensor, noise_level: float) -> None:
    """Refuses measurements y that are not like A x, or of a noise level that is none.

    Raises:
        ValueError: with what was given.
    """
    if measured.shape != expected.shape:
        raise ValueError(f"measured is of shape {tuple(measured.shape)}; expected {tuple(expected.shape)}")
    if not 0 <= noise_level < math.inf:
        raise ValueError(f"expected a noise level of at least 0, got {noise_level}")
