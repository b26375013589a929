"""Variance-preserving diffusion on a table of timesteps (DDPM: Ho et al. 2020, arXiv 2006.11239), behind the contract."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import nn

from sadm.core.conditions import Cond
from sadm.core.recording import is_recorded
from sadm.diffusion.path_denoiser import PathDenoiser, is_infinite, one_each, over_images
from sadm.diffusion.paths import Level, Value, VariancePreserving, in_float64
from sadm.diffusion.prediction import Prediction
from sadm.diffusion.weightings import EpsWeighting, X0Weighting

VPTarget = Literal["eps", "v", "x0"]
TOLERANCE = 1e-4
"""How far, relatively, sigma may leave a schedule's range by rounding."""


class VPSchedule:
    """The noise levels of timesteps 0 … T-1, and of what lies between them.

    Between timesteps, ln sigma is interpolated linearly, which is invertible. A schedule may end in pure noise (alphas_cumprod
    0, sigma inf; "zero terminal SNR", arXiv 2305.08891): its last timestep then stands alone, with nothing between it and the
    one before.

    Args:
        alphas_cumprod: alpha^2 of each timestep [T], falling, in (0, 1); the last may be 0.

    Attributes:
        sigmas: noise level of each timestep [T], float64, rising.

    Raises:
        ValueError: fewer than two timesteps, or values that do not fall within (0, 1).
    """

    def __init__(self, alphas_cumprod: torch.Tensor) -> None:
        table = torch.as_tensor(alphas_cumprod).detach().cpu().double()  # [T]
        falling = table.ndim == 1 and len(table) > 1 and bool((table.diff() < 0).all())
        if not falling or not 0 < float(table[0]) < 1 or float(table[-1]) < 0:
            raise ValueError(
                "expected alphas_cumprod of at least 2 timesteps, falling and between 1 and 0 (only the last may be 0), got "
                f"shape {tuple(table.shape)} from {table.flatten()[0] if table.numel() else None} "
                f"to {table.flatten()[-1] if table.numel() else None}"
            )
        self.alphas_cumprod = table
        self.sigmas = ((1 - table) / table).sqrt()  # [T]
        self._logs = self.sigmas.log()[: len(table) - int(math.isinf(self.sigmas[-1]))]  # of the finite ones

    @classmethod
    def linear(cls, timesteps: int = 1000, first: float = 1e-4, last: float = 0.02) -> VPSchedule:
        """Betas that rise linearly (arXiv 2006.11239, section 4)."""
        return cls.from_betas(torch.linspace(first, last, timesteps, dtype=torch.float64))

    @classmethod
    def scaled_linear(cls, timesteps: int = 1000, first: float = 1e-4, last: float = 0.02) -> VPSchedule:
        """Betas whose square roots rise linearly, as of latent diffusion models (arXiv 2112.10752)."""
        return cls.from_betas(torch.linspace(first**0.5, last**0.5, timesteps, dtype=torch.float64).square())

    @classmethod
    def cosine(cls, timesteps: int = 1000, offset: float = 0.008, largest: float = 0.999) -> VPSchedule:
        """``alphas_cumprod = cos^2`` of the timestep, each beta at most `largest` (arXiv 2102.09672, eq. 17)."""
        ramp = torch.linspace(0, 1, timesteps + 1, dtype=torch.float64)  # [T + 1]
        level = torch.cos((ramp + offset) / (1 + offset) * (math.pi / 2)).square()
        return cls.from_betas((1 - level[1:] / level[:-1]).clamp(max=largest))

    @classmethod
    def from_betas(cls, betas: torch.Tensor) -> VPSchedule:
        """Betas as a paper or a scheduler's configuration gives them [T], each in (0, 1]."""
        return cls((1 - torch.as_tensor(betas).cpu().double()).cumprod(0))

    def __len__(self) -> int:
        return len(self.sigmas)

    @property
    def sigma_min(self) -> float:
        """Noise level of timestep 0."""
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        """Noise level of timestep T-1; inf for zero terminal SNR."""
        return float(self.sigmas[-1])

    def sigma(self, timestep: Value) -> Value:
        """Noise levels of timesteps in [0, T-1], fractions included.

        Raises:
            ValueError: a timestep outside of the schedule.
        """
        return in_float64(self._sigma, timestep)

    def timestep(self, sigma: Value) -> Value:
        """Timesteps in [0, T-1], in general fractions, of noise levels.

        Raises:
            ValueError: a noise level outside of the schedule, by more than rounding.
        """
        return in_float64(self._timestep, sigma)

    def _sigma(self, timestep: torch.Tensor) -> torch.Tensor:
        steps = timestep.detach().cpu().double()
        last, finite = len(self) - 1, len(self._logs) - 1
        if not bool(((steps >= 0) & ((steps <= finite) | (steps == last))).all()):
            raise ValueError(
                f"expected timesteps from 0 to {finite}{'' if finite == last else f', or {last} itself'}; "
                f"got {float(steps.min())} to {float(steps.max())}"
            )
        below = steps.floor().long().clamp(max=finite - 1)
        logs = torch.lerp(self._logs[below], self._logs[below + 1], steps - below)
        return torch.where(steps > finite, math.inf, logs.exp()).to(timestep)

    def _timestep(self, sigma: torch.Tensor) -> torch.Tensor:
        logs = sigma.detach().cpu().double().log()
        low, high, last = self._logs[0], self._logs[-1], len(self) - 1
        ends_in_noise = len(self._logs) <= last
        inside = (logs >= low - TOLERANCE) & (logs <= high + TOLERANCE)
        if ends_in_noise:
            inside |= torch.isinf(logs) & (logs > 0)
        if not is_recorded() and not bool(inside.all()):
            raise ValueError(
                f"this schedule has noise levels sigma from {low.exp():.6g} to {high.exp():.6g}"
                f"{' and inf' if ends_in_noise else ''}, got {float(sigma.min()):.6g} to {float(sigma.max()):.6g}. Stay "
                "within that range: train with UniformTime(schedule), sample on grid 'native'"
            )
        within = logs.clamp(low, high)
        # What searchsorted gives, in operations that can be exported to other runtimes.
        above = (within.unsqueeze(-1) > self._logs).sum(-1).clamp(1, len(self._logs) - 1)
        lower, upper = self._logs[above - 1], self._logs[above]
        steps = above - 1 + (within - lower) / (upper - lower)
        return torch.where(torch.isinf(logs), float(last), steps).to(sigma)


class VPDenoiser(PathDenoiser):
    """A network trained on timesteps with ``z = alpha x0 + beta noise``, alpha^2 + beta^2 = 1, behind the contract.

    The network is given ``z = x_t / sqrt(1 + sigma^2)`` and the timestep of sigma, and predicts one of

    - eps, the noise: ``x0_hat = (z - beta eps) / alpha``;
    - v = alpha noise - beta x0: ``x0_hat = alpha z - beta v`` (Salimans & Ho 2022, arXiv 2202.00512, appendix D);
    - x0 itself.

    Args:
        net: called as ``net(z [B, C, H, W], timestep [B], cond)``.
        schedule: of its training.
        prediction: 'eps', 'v' or 'x0'.
        learned_variance: the network returns [B, 2C, H, W], whose second half, in [-1, 1] as trained, places the log-variance
            of a reverse step (see `Prediction`).
        whole_timesteps: give the network the nearest whole timestep, as it had in training, rather than a fraction.

    Raises:
        ValueError: an unknown prediction; on use, noise levels outside of the schedule, or an output of unexpected shape.
    """

    def __init__(
        self,
        net: nn.Module,
        schedule: VPSchedule,
        prediction: VPTarget = "eps",
        learned_variance: bool = False,
        whole_timesteps: bool = False,
    ) -> None:
        super().__init__(net, VariancePreserving())
        if prediction not in get_args(VPTarget):
            raise ValueError(f"unknown prediction {prediction!r}; expected one of {', '.join(get_args(VPTarget))}")
        self.schedule = schedule
        self.prediction = prediction
        self.learned_variance = learned_variance
        self.whole_timesteps = whole_timesteps

    def estimate(self, z: torch.Tensor, sigma: Level, cond: Cond) -> Prediction:
        """See `PathDenoiser.estimate`."""
        if self.prediction == "eps" and is_infinite(sigma):
            raise ValueError(
                "eps-prediction has no x0_hat at alpha = 0 (sigma = inf), where z is the noise itself. Start below, or use a "
                "network that predicts v or x0"
            )
        timestep = self.schedule.timestep(sigma)
        if self.whole_timesteps:
            timestep = timestep.round() if isinstance(timestep, torch.Tensor) else float(round(timestep))
        output, variance = self._split(self.net(z, one_each(timestep, z), cond), z)  # [B, C, H, W] each
        alpha = over_images(self.path.alpha_of(sigma), z)
        beta = over_images(self.path.alpha_of(1 / sigma), z)  # beta(sigma) = alpha(1 / sigma) on the circle
        if self.prediction == "eps":
            return Prediction((z - beta * output) / alpha, variance)
        if self.prediction == "v":
            return Prediction(alpha * z - beta * output, variance)
        return Prediction(output, variance)

    def _split(self, output: torch.Tensor, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        channels = z.shape[1]
        expected = (z.shape[0], channels * (2 if self.learned_variance else 1), *z.shape[2:])
        if output.shape != expected:
            raise ValueError(
                f"expected the network to return {expected} with learned_variance={self.learned_variance}, got "
                f"{tuple(output.shape)}"
            )
        if not self.learned_variance:
            return output, None
        output, position = output.split(channels, dim=1)
        return output, (position + 1) / 2

    def loss_weight(self, sigma: torch.Tensor) -> torch.Tensor:
        """What plain mean squares on the network's own output come to: 1/sigma^2 for eps, 1 + 1/sigma^2 for v, 1 for x0."""
        if self.prediction == "eps":
            return EpsWeighting()(sigma)
        if self.prediction == "v":
            return 1 + EpsWeighting()(sigma)
        return X0Weighting()(sigma)
