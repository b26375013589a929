"""Loss weightings: each a function from noise levels sigma [B] to the weight of the squared x0 error [B].

A weighting on another target's error is one on x0's, since at a given sigma all targets are tied to x0 linearly:
``|error of eps|^2 = |error of x0|^2 / sigma^2``, and the same for v with ``1 + 1/sigma^2`` (VP) or ``1/t^2`` (straight line).
``SNR = 1 / sigma^2``. What a weighting does depends on the density of the noise levels as well: the product counts.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch

from sadm.diffusion.paths import StraightLine

Weighting = Callable[[torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True)
class EDMWeighting:
    """``(sigma^2 + sigma_data^2) / (sigma sigma_data)^2``: the EDM network's own target gets unit weight.

    Source: Karras et al. 2022, arXiv 2206.00364, table 1. sigma_data is the standard deviation of the data.
    """

    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        _refuse_unless_positive("sigma_data", self.sigma_data)

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        return (sigma.square() + self.sigma_data**2) / (sigma * self.sigma_data).square()


@dataclasses.dataclass(frozen=True)
class MinSNRWeighting:
    """``min(SNR, gamma)`` on x0's error (Hang et al. 2023, arXiv 2303.09556).

    The same is ``min(SNR, gamma) / SNR`` on eps's error and ``min(SNR, gamma) / (SNR + 1)`` on that of VP's v.
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        _refuse_unless_positive("gamma", self.gamma)

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        return EpsWeighting()(sigma).clamp(max=self.gamma)


@dataclasses.dataclass(frozen=True)
class SigmoidWeighting:
    """``exp(bias) sigmoid(ln SNR - bias)`` on x0's error, that is ``sigmoid(bias - ln SNR)`` on eps's.

    SNR at high noise, levelling off at exp(bias) below: a smooth min-SNR. Sources: Kingma & Gao 2023, arXiv 2303.00848;
    Hoogeboom et al. 2024 (SiD2), arXiv 2410.19324. There it weighs an integral over ln SNR, which is what a mean over
    log-uniform noise levels estimates; with another density of ln SNR, divide by that density to get theirs.
    """

    bias: float

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        return math.exp(self.bias) * torch.sigmoid(-2 * sigma.log() - self.bias)


@dataclasses.dataclass(frozen=True)
class VelocityWeighting:
    """``1 / max(t, floor)^2``, t = sigma / (1 + sigma): mean squares on the velocity of a straight line.

    `floor` bounds it near clean data: 0 = exact, 0.05 = as JiT does (arXiv 2511.13720).
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.floor < 1:
            raise ValueError(f"floor is a time on the straight line, at least 0 and below 1, got {self.floor}")

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        return StraightLine().time(sigma).clamp(min=self.floor).square().reciprocal()


@dataclasses.dataclass(frozen=True)
class EpsWeighting:
    """``1 / sigma^2``, the SNR: mean squares on the noise (DDPM's simple loss, arXiv 2006.11239, eq. 14)."""

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        return sigma.square().reciprocal()


@dataclasses.dataclass(frozen=True)
class X0Weighting:
    """1 at all noise levels: mean squares on x0."""

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(sigma)


def _refuse_unless_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")
