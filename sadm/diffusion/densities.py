"""Densities of training noise levels. Each draws sigma [count], and knows the level at a share u of its probability."""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import torch

from sadm.diffusion.paths import Path
from sadm.diffusion.vp import VPSchedule


class Density(Protocol):
    """What a training step draws its noise levels from."""

    def sample(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """`count` noise levels > 0, float32 [count], drawn on the generator's device."""
        ...

    def quantile(self, u: torch.Tensor) -> torch.Tensor:
        """The noise levels below which the shares u of all draws lie; u of any shape, in (0, 1)."""
        ...


@dataclasses.dataclass(frozen=True)
class LogNormalSigma:
    """``ln sigma ~ N(mean, std^2)`` (EDM: arXiv 2206.00364, table 1; the paper uses -1.2 and 1.2)."""

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and 0 < self.std < math.inf):
            raise ValueError(f"expected a finite mean and a standard deviation above 0, got {self.mean} and {self.std}")

    def sample(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """`count` noise levels, float32 [count], drawn on the generator's device."""
        normal = torch.randn(count, generator=generator, device=generator.device)
        return (self.mean + self.std * normal).exp()

    def quantile(self, u: torch.Tensor) -> torch.Tensor:
        """See `Density.quantile`."""
        return (self.mean + self.std * torch.special.ndtri(u)).exp()


@dataclasses.dataclass(frozen=True)
class LogitNormalTime(LogNormalSigma):
    """``logit t ~ N(mean, std^2)`` on the straight line (arXiv 2403.03206, eq. 19; JiT, arXiv 2511.13720, uses 0.8 and 0.8).

    On that line ``sigma = t / (1 - t)``, so that ``ln sigma = logit t``: this is `LogNormalSigma` to the last bit, under the
    name and with the defaults of flow matching. A paper that counts time from noise to data has the opposite mean.
    """

    mean: float = 0.0
    std: float = 1.0


@dataclasses.dataclass(frozen=True)
class UniformTime:
    """Uniform in a path's time, or over the timesteps of a schedule (each a whole number, as DDPM trains).

    Args:
        along: a path that ends (`StraightLine`, `VariancePreserving`), or a `VPSchedule`.

    Raises:
        ValueError: a path without an end; a schedule that ends in sigma = inf, where ``x0 + sigma noise`` is not finite.
    """

    along: Path | VPSchedule

    def __post_init__(self) -> None:
        if isinstance(self.along, Path) and math.isinf(self.along.end):
            raise ValueError(f"{self.along} has no end, so nothing is uniform in its time; use LogNormalSigma")
        if isinstance(self.along, VPSchedule) and math.isinf(self.along.sigma_max):
            raise ValueError(
                "this schedule ends in sigma = inf (zero terminal SNR), and x_t = x0 + sigma * noise is not finite there. Train "
                "on one whose last alphas_cumprod is above 0"
            )

    def sample(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """See `Density.sample`."""
        if isinstance(self.along, VPSchedule):
            steps = torch.randint(len(self.along), (count,), generator=generator, device=generator.device)
            return self.along.sigmas[steps.cpu()].float().to(generator.device)
        return self.quantile(_open_uniform(count, generator)).float()

    def quantile(self, u: torch.Tensor) -> torch.Tensor:
        """See `Density.quantile`."""
        if isinstance(self.along, VPSchedule):
            steps = (u.cpu().double() * len(self.along)).long().clamp(0, len(self.along) - 1)
            return self.along.sigmas[steps].to(u)
        return self.along.sigma(self.along.end * u)


@dataclasses.dataclass(frozen=True)
class Stratified:
    """One draw of `density` from each of `count` parts of equal probability, in random order.

    Every draw has the density's distribution, and a batch covers all noise levels evenly, so that the loss varies less from
    step to step (Kingma et al. 2021, arXiv 2107.00630, have the same idea).
    """

    density: Density

    def sample(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """See `Density.sample`."""
        order = torch.randperm(count, generator=generator, device=generator.device)
        return self.density.quantile((order + _open_uniform(count, generator)) / count).float()

    def quantile(self, u: torch.Tensor) -> torch.Tensor:
        """See `Density.quantile`."""
        return self.density.quantile(u)


def _open_uniform(count: int, generator: torch.Generator) -> torch.Tensor:
    """Uniform in (0, 1), without its ends: the middles of 2^24 equal cells, float64 [count]."""
    cells = torch.rand(count, generator=generator, device=generator.device)  # multiples of 2^-24, 0 included
    return cells.double() + 2**-25
