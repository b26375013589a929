"""Any denoiser as solvers see it: on a path, in the path's own coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.denoised import Denoiser
from sadm.diffusion.path_denoiser import is_infinite, one_each, over_images
from sadm.diffusion.paths import Level, Path, VarianceExploding
from sadm.diffusion.prediction import Prediction, predict
from sadm.diffusion.vp import VPSchedule

Draw = Callable[[int], torch.Tensor]
"""Unit Gaussian noise [B, C, H, W] for a step, counted from 0."""


def path_of(denoiser: Denoiser) -> Path:
    """The path that a denoiser's network lives on; a plain function is on that of the contract itself."""
    path = getattr(denoiser, "path", None)
    return path if isinstance(path, Path) else VarianceExploding()


def schedule_of(denoiser: Denoiser) -> VPSchedule | None:
    """The table of timesteps that a denoiser's network was trained on, if it was."""
    schedule = getattr(denoiser, "schedule", None)
    return schedule if isinstance(schedule, VPSchedule) else None


def x0_hat_at(denoiser: Denoiser, path: Path, z: torch.Tensor, t: Level, cond: Cond) -> torch.Tensor:
    """Any denoiser's estimate of x0 for z [B, C, H, W] at times t > 0 of a path: one for all images, or [B].

    A denoiser whose network lives on this path is asked there (``at``), sigma = inf included; any other through the contract.

    Raises:
        ValueError: alpha(t) = 0, and the denoiser does not live on this path.
    """
    if _lives_on(denoiser, path):
        return denoiser.at(z, t, cond)  # type: ignore[attr-defined]
    return denoiser(*_in_contract(path, z, t), cond)


def prediction_at(denoiser: Denoiser, path: Path, z: torch.Tensor, t: Level, cond: Cond) -> Prediction:
    """As `x0_hat_at`, with the network's variance where it predicts one."""
    if _lives_on(denoiser, path):
        return denoiser.predict_at(z, t, cond)  # type: ignore[attr-defined]
    return predict(denoiser, *_in_contract(path, z, t), cond)


def _lives_on(denoiser: Denoiser, path: Path) -> bool:
    # On the variance-exploding path, the contract's own call is the native one.
    return path_of(denoiser) == path != VarianceExploding()


def _in_contract(path: Path, z: torch.Tensor, t: Level) -> tuple[torch.Tensor, torch.Tensor]:
    sigma = path.sigma(t)
    if is_infinite(sigma):
        raise ValueError(
            f"at time {path.end:g} of {path}, alpha is 0 and sigma inf, where denoiser(x_t, sigma, cond) can't be asked. Start "
            "at an earlier time, or use a denoiser that lives on that path"
        )
    return (z if path == VarianceExploding() else z / over_images(path.alpha(t), z)), one_each(sigma, z).to(z.dtype)


class OnPath:
    """A denoiser on a path, for one batch.

    Args:
        denoiser: the contract.
        path: of the solver.
        cond: conditioning of the batch.
    """

    def __init__(self, denoiser: Denoiser, path: Path, cond: Cond) -> None:
        self.denoiser, self.path, self.cond = denoiser, path, cond

    def x0_hat(self, z: torch.Tensor, t: float) -> torch.Tensor:
        """See `x0_hat_at`."""
        return x0_hat_at(self.denoiser, self.path, z, t, self.cond)

    def prediction(self, z: torch.Tensor, t: float) -> Prediction:
        """See `prediction_at`."""
        return prediction_at(self.denoiser, self.path, z, t, self.cond)

    def velocity(self, z: torch.Tensor, t: float) -> torch.Tensor:
        """dz/dt of the probability-flow ODE, ``alpha' x0_hat + beta' noise_hat``, noise_hat = (z - alpha x0_hat) / beta."""
        x0_hat, path = self.x0_hat(z, t), self.path
        along_noise = path.beta_dot(t) * ((z - path.alpha(t) * x0_hat) / path.beta(t))  # [B, C, H, W]
        slope = path.alpha_dot(t)
        return along_noise + slope * x0_hat if slope else along_noise

    def mixed(self, z: torch.Tensor, x0_hat: torch.Tensor, here: float, there: float, spread: float) -> torch.Tensor:
        """``alpha(there) x0_hat + spread noise_hat``, with the noise_hat that z holds at time here."""
        noise_hat = (z - self.path.alpha(here) * x0_hat) / self.path.beta(here)  # [B, C, H, W]
        return self.path.alpha(there) * x0_hat + spread * noise_hat


def checked_times(times: torch.Tensor, path: Path) -> list[float]:
    """A solver's grid as floats.

    Raises:
        ValueError: not at least two times that fall from at most the path's end to 0 or above.
    """
    grid = [float(t) for t in times.flatten()]
    falling = len(grid) > 1 and all(here > there for here, there in pairwise(grid))
    if times.ndim != 1 or not falling or not math.isfinite(grid[0]) or not 0 <= grid[-1] < grid[0] <= path.end:
        raise ValueError(
            f"expected at least 2 times that fall, from at most {path.end:g} to 0 or above, for {path}; got shape "
            f"{tuple(times.shape)}: {', '.join(f'{t:g}' for t in grid[:4])}{', …' if len(grid) > 4 else ''}"
        )
    return grid


def fresh_noise(draw: Draw | None, step: int, like: torch.Tensor, solver: str) -> torch.Tensor:
    """The noise of a step of a stochastic solver, like z [B, C, H, W].

    Raises:
        ValueError: no `draw`, or it gives another shape.
    """
    if draw is None:
        raise ValueError(f"{solver} adds noise at each step: give draw(step) -> unit Gaussian {tuple(like.shape)}")
    noise = draw(step)
    if noise.shape != like.shape:
        raise ValueError(f"draw({step}) gave shape {tuple(noise.shape)}; expected {tuple(like.shape)}")
    return noise.to(like)
