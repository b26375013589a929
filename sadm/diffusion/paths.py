"""Paths: how a process mixes data and noise along its own time, ``z_t = alpha(t) x0 + beta(t) noise``.

The time t falls to 0 = clean. ``sigma = beta / alpha`` and ``x_t = z_t / alpha`` lead to the denoiser's contract; at the end of
a path that ends in pure noise, alpha = 0 and sigma = inf, and only z is finite there.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable
from typing import TypeVar, cast

import torch

Level = float | torch.Tensor
"""A noise level or a time: a float (computed in float64), or a tensor (computed in its own precision)."""
Value = TypeVar("Value", bound=Level)


def in_float64(function: Callable[[torch.Tensor], torch.Tensor], value: Value) -> Value:
    """Applies a function of tensors to a tensor, or, in float64, to a float."""
    if isinstance(value, torch.Tensor):
        return cast(Value, function(value))
    return cast(Value, float(function(torch.tensor(value, dtype=torch.float64))))


class Path(abc.ABC):
    """The mixing of data and noise along a process's time t, from 0 (clean) to `end`."""

    end: float
    """The largest time; inf for a path that has no end."""

    def alpha(self, t: Value) -> Value:
        """The factor of the data at times t in [0, end]."""
        return in_float64(self._alpha, t)

    def beta(self, t: Value) -> Value:
        """The factor of the noise at times t in [0, end]."""
        return in_float64(self._beta, t)

    def alpha_dot(self, t: Value) -> Value:
        """The derivative of alpha with respect to t."""
        return in_float64(self._alpha_dot, t)

    def beta_dot(self, t: Value) -> Value:
        """The derivative of beta with respect to t."""
        return in_float64(self._beta_dot, t)

    def sigma(self, t: Value) -> Value:
        """The noise level ``beta / alpha`` at times t; inf where alpha is 0."""
        return in_float64(lambda t: self._beta(t) / self._alpha(t), t)

    def time(self, sigma: Value) -> Value:
        """The time of noise levels sigma in [0, inf]."""
        return in_float64(self._time, sigma)

    def alpha_of(self, sigma: Value) -> Value:
        """alpha at noise levels sigma in [0, inf], without the rounding of a detour through t."""
        return in_float64(self._alpha_of, sigma)

    @abc.abstractmethod
    def _alpha(self, t: torch.Tensor) -> torch.Tensor: ...

    @abc.abstractmethod
    def _beta(self, t: torch.Tensor) -> torch.Tensor: ...

    @abc.abstractmethod
    def _alpha_dot(self, t: torch.Tensor) -> torch.Tensor: ...

    @abc.abstractmethod
    def _beta_dot(self, t: torch.Tensor) -> torch.Tensor: ...

    @abc.abstractmethod
    def _time(self, sigma: torch.Tensor) -> torch.Tensor: ...

    @abc.abstractmethod
    def _alpha_of(self, sigma: torch.Tensor) -> torch.Tensor: ...


@dataclasses.dataclass(frozen=True)
class VarianceExploding(Path):
    """``alpha = 1, beta = t``: the time is sigma itself, and z is x_t (EDM; Karras et al. 2022, arXiv 2206.00364)."""

    end = math.inf

    def _alpha(self, t: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(t)

    def _beta(self, t: torch.Tensor) -> torch.Tensor:
        return t

    def _alpha_dot(self, t: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(t)

    def _beta_dot(self, t: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(t)

    def _time(self, sigma: torch.Tensor) -> torch.Tensor:
        return sigma

    def _alpha_of(self, sigma: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(sigma)


@dataclasses.dataclass(frozen=True)
class VariancePreserving(Path):
    """``alpha = cos(pi t / 2), beta = sin(pi t / 2)``, t in [0, 1]: data and noise on a circle, alpha^2 + beta^2 = 1.

    Every variance-preserving process runs along this circle; its own schedule only says how fast (see `VPSchedule`). With t as
    the angle, the network's v-prediction is the path's velocity up to pi/2 (Salimans & Ho 2022, arXiv 2202.00512).
    """

    end = 1.0

    def _alpha(self, t: torch.Tensor) -> torch.Tensor:
        return torch.sin((1 - t) * (math.pi / 2))  # the cosine of pi t / 2, but exactly 0 at t = 1

    def _beta(self, t: torch.Tensor) -> torch.Tensor:
        return torch.sin(t * (math.pi / 2))

    def _alpha_dot(self, t: torch.Tensor) -> torch.Tensor:
        return -math.pi / 2 * self._beta(t)

    def _beta_dot(self, t: torch.Tensor) -> torch.Tensor:
        return math.pi / 2 * self._alpha(t)

    def _time(self, sigma: torch.Tensor) -> torch.Tensor:
        return torch.atan(sigma) * (2 / math.pi)

    def _alpha_of(self, sigma: torch.Tensor) -> torch.Tensor:
        return (1 + sigma.square()).rsqrt()


@dataclasses.dataclass(frozen=True)
class StraightLine(Path):
    """``alpha = 1 - t, beta = t``, t in [0, 1]: rectified flow (Liu et al. 2022, arXiv 2209.03003; arXiv 2210.02747)."""

    end = 1.0

    def _alpha(self, t: torch.Tensor) -> torch.Tensor:
        return 1 - t

    def _beta(self, t: torch.Tensor) -> torch.Tensor:
        return t

    def _alpha_dot(self, t: torch.Tensor) -> torch.Tensor:
        return -torch.ones_like(t)

    def _beta_dot(self, t: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(t)

    def _time(self, sigma: torch.Tensor) -> torch.Tensor:
        return 1 / (1 + 1 / sigma)  # sigma / (1 + sigma), but finite at both ends

    def _alpha_of(self, sigma: torch.Tensor) -> torch.Tensor:
        return 1 / (1 + sigma)
