"""Guidance as a denoiser around a denoiser: away from an unconditional answer, or from that of a weaker model.

What is around a denoiser on a path lives on that path too. A guided prediction has the variance of the network being guided,
since guidance moves the mean (DiT does the same).
"""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Callable

import torch

from sadm.core.conditions import Cond
from sadm.core.recording import is_recorded
from sadm.diffusion.classes import null_label_of
from sadm.diffusion.denoised import Denoiser, per_image
from sadm.diffusion.on_path import path_of, prediction_at, schedule_of, x0_hat_at
from sadm.diffusion.paths import Level, Path
from sadm.diffusion.prediction import Prediction, predict

EVERYWHERE = (0.0, math.inf)
Ask = Callable[[Denoiser, torch.Tensor, Level, Cond], Prediction]
"""One of the ways to ask a denoiser: of images, at noise levels or times, under conditions."""


class Guidance(abc.ABC):
    """``x0_hat = weak + guidance_scale * (strong - weak)``; subclasses say what is strong and weak.

    Guiding at middle noise levels only costs less and keeps variety (Kynkäänniemi et al. 2024, arXiv 2404.07724).

    Args:
        denoiser: the one to guide.
        guidance_scale: 1 = off.
        interval: guide where ``low < sigma <= high``; elsewhere the denoiser alone is asked.

    Raises:
        ValueError: an interval without noise levels, or a scale that is not finite.
    """

    def __init__(self, denoiser: Denoiser, guidance_scale: float, interval: tuple[float, float] = EVERYWHERE) -> None:
        if not math.isfinite(guidance_scale):
            raise ValueError(f"guidance_scale must be finite, got {guidance_scale}")
        if not 0 <= interval[0] < interval[1]:
            raise ValueError(
                f"a guidance interval of noise levels needs 0 <= low < high, got {interval[0]} to {interval[1]}"
            )
        self.denoiser = denoiser
        self.guidance_scale = guidance_scale
        self.interval = interval
        self.path = path_of(denoiser)
        self.schedule = schedule_of(denoiser)

    def __call__(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
        """The contract."""
        return self._guided(_ask_x0_hat, x_t, sigma, sigma, cond).x0_hat

    def predict(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> Prediction:
        """As the contract, with the variance of the guided network where it predicts one."""
        return self._guided(_ask_prediction, x_t, sigma, sigma, cond)

    def at(self, z: torch.Tensor, t: Level, cond: Cond) -> torch.Tensor:
        """x0_hat for z [B, C, H, W] at times t of the denoiser's path: one for all images, or [B]."""
        ask = functools.partial(_ask_x0_hat_at, self.path)
        return self._guided(ask, z, t, self.path.sigma(t), cond).x0_hat

    def predict_at(self, z: torch.Tensor, t: Level, cond: Cond) -> Prediction:
        """As `at`, with the variance of the guided network where it predicts one."""
        return self._guided(functools.partial(_ask_prediction_at, self.path), z, t, self.path.sigma(t), cond)

    @abc.abstractmethod
    def _off(self, cond: Cond) -> bool:
        """Whether there is nothing to guide with."""

    @abc.abstractmethod
    def _pair(self, ask: Ask, x: torch.Tensor, level: Level, cond: Cond) -> tuple[Prediction, torch.Tensor]:
        """The strong answer, and the weak x0_hat [B, C, H, W]."""

    def _guided(self, ask: Ask, x: torch.Tensor, level: Level, sigma: Level, cond: Cond) -> Prediction:
        low, high = self.interval
        inside = None if self.interval == EVERYWHERE else (sigma > low) & (sigma <= high)  # None = all
        nowhere = inside is not None and not (_somewhere(inside) if isinstance(inside, torch.Tensor) else inside)
        if self.guidance_scale == 1 or nowhere or self._off(cond):
            return ask(self.denoiser, x, level, cond)
        strong, weak = self._pair(ask, x, level, cond)
        x0_hat = weak + self.guidance_scale * (strong.x0_hat - weak)  # [B, C, H, W]
        if isinstance(inside, torch.Tensor):
            x0_hat = torch.where(per_image(inside, x0_hat), x0_hat, strong.x0_hat)
        return Prediction(x0_hat, strong.variance)


class ClassifierFreeGuidance(Guidance):
    """``x0_hat = unconditional + guidance_scale * (conditional - unconditional)``; both in one call of double batch.

    Source: Ho & Salimans 2022, arXiv 2207.12598.

    Args:
        denoiser: a denoiser whose network was trained with label dropout.
        guidance_scale: 1 = off.
        null_label: the network's null class.
        interval: guide where ``low < sigma <= high``; elsewhere the conditional denoiser alone is asked.

    Raises:
        ValueError: guidance is asked of a network without a null class, or with another one than its own; an interval without
            noise levels; a scale that is not finite.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        guidance_scale: float,
        null_label: int | None,
        interval: tuple[float, float] = EVERYWHERE,
    ) -> None:
        own = null_label_of(denoiser, null_label)
        if guidance_scale != 1 and (null_label is None or own is None):
            raise ValueError(
                f"guidance_scale {guidance_scale} needs a network with classes; this one has no null class. Use guidance_scale 1"
            )
        if guidance_scale != 1 and own != null_label:
            raise ValueError(f"null_label {null_label} is not this network's null class, which is {own}")
        super().__init__(denoiser, guidance_scale, interval)
        self.null_label = null_label

    def _off(self, cond: Cond) -> bool:
        return cond.label is None or self.null_label is None

    def _pair(self, ask: Ask, x: torch.Tensor, level: Level, cond: Cond) -> tuple[Prediction, torch.Tensor]:
        without = cond.without_label(self.null_label or 0)
        doubled = Cond(**{name: _stack(getattr(cond, name), getattr(without, name)) for name in vars(cond)})
        levels = torch.cat([level, level]) if isinstance(level, torch.Tensor) else level
        both = ask(self.denoiser, torch.cat([x, x]), levels, doubled)  # [2B, C, H, W]
        conditional, unconditional = both.x0_hat.chunk(2)
        return Prediction(conditional, None if both.variance is None else both.variance.chunk(2)[0]), unconditional


class AutoGuidance(Guidance):
    """``x0_hat = weak + guidance_scale * (strong - weak)``, weak being a smaller or less trained model of the same images.

    It sharpens without classes, and without the loss of variety that a null class costs (Karras et al. 2024, arXiv 2406.02507).

    Args:
        denoiser: the strong one.
        weak: the weak one, asked with the same conditions; it may live on another path.
        guidance_scale: 1 = off.
        interval: guide where ``low < sigma <= high``; elsewhere the strong denoiser alone is asked.

    Raises:
        ValueError: an interval without noise levels.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        weak: Denoiser,
        guidance_scale: float,
        interval: tuple[float, float] = EVERYWHERE,
    ) -> None:
        super().__init__(denoiser, guidance_scale, interval)
        self.weak = weak

    def _off(self, cond: Cond) -> bool:
        return False

    def _pair(self, ask: Ask, x: torch.Tensor, level: Level, cond: Cond) -> tuple[Prediction, torch.Tensor]:
        return ask(self.denoiser, x, level, cond), ask(self.weak, x, level, cond).x0_hat


def _somewhere(inside: torch.Tensor) -> bool:
    """Whether any image is to be guided, as far as can be said."""
    return is_recorded() or bool(inside.any())


def _ask_x0_hat(denoiser: Denoiser, x_t: torch.Tensor, sigma: Level, cond: Cond) -> Prediction:
    return Prediction(denoiser(x_t, sigma, cond))  # type: ignore[arg-type]  # the contract's own levels are tensors


def _ask_prediction(denoiser: Denoiser, x_t: torch.Tensor, sigma: Level, cond: Cond) -> Prediction:
    return predict(denoiser, x_t, sigma, cond)  # type: ignore[arg-type]


def _ask_x0_hat_at(path: Path, denoiser: Denoiser, z: torch.Tensor, t: Level, cond: Cond) -> Prediction:
    return Prediction(x0_hat_at(denoiser, path, z, t, cond))


def _ask_prediction_at(path: Path, denoiser: Denoiser, z: torch.Tensor, t: Level, cond: Cond) -> Prediction:
    return prediction_at(denoiser, path, z, t, cond)


def _stack(first: torch.Tensor | None, second: torch.Tensor | None) -> torch.Tensor | None:
    return None if first is None or second is None else torch.cat([first, second])
