"""From a run's sampling configuration to the sampler's settings: checked before any time is spent, and doubted aloud."""

from __future__ import annotations

import torch
from torch import nn

from sadm.core.errors import UserError
from sadm.diffusion import SamplerSettings, prepare
from sadm.diffusion.on_path import schedule_of
from sadm.training.config import SamplingConfig
from sadm.training.process import AnyDenoiser
from sadm.training.spec import ModelSpec

_AMPLIFIED = 1000.0  # an error of a noise prediction counts so many times in x0_hat: more than training can make up for
_DROWNED = 10.0  # below this noise level, an image is still seen through the noise


def sampler_settings(config: SamplingConfig, clamp: bool = True) -> SamplerSettings:
    """The sampler's own settings, from a run's configuration; latents are not clamped."""
    return SamplerSettings(**config.model_dump(), clamp=clamp)


def checked_settings(
    denoiser: AnyDenoiser,
    null_label: int | None,
    config: SamplingConfig,
    latents: bool,
    weak: AnyDenoiser | None = None,
) -> SamplerSettings:
    """Settings that make sense for a denoiser; asks no network.

    Args:
        denoiser: that is to be sampled.
        null_label: its null class, or None.
        config: how.
        latents: whether it draws latents.
        weak: what guides it; None = the null class.

    Raises:
        UserError: a setting makes no sense, alone or for this denoiser.
    """
    settings = sampler_settings(config, clamp=not latents)
    try:
        prepare(denoiser, null_label, settings, weak)
    except ValueError as error:
        raise UserError(f"sampling: {error}.") from error
    return settings


def check_sampling(spec: ModelSpec, config: SamplingConfig, latents: bool) -> list[str]:
    """Checks how a model is to be sampled before it is trained.

    Args:
        spec: of the model.
        config: how it is to be sampled.
        latents: whether it draws latents.

    Returns:
        What will work and may disappoint, in sentences.

    Raises:
        UserError: the process is none, and see `checked_settings`.
    """
    denoiser = spec.around(nn.Identity())
    checked_settings(denoiser, len(spec.class_names) or None, config, latents)
    schedule = schedule_of(denoiser)
    if schedule is None:
        return []
    doubts, highest = [], float(schedule.sigmas[torch.isfinite(schedule.sigmas)][-1])
    if highest < _DROWNED:
        doubts.append(
            f"The noise of this schedule ends at sigma {highest:.3g}, where much of an image is still to be seen, and sampling "
            "starts from noise alone. Give it more --process.timesteps, or larger --process.betas."
        )
    starts_there = config.grid == "native" and config.spacing != "leading"
    if highest > _AMPLIFIED and (spec.process.prediction or "eps") == "eps" and starts_there and not config.clip:
        remedy = "" if latents else "--sampling.clip True, "
        doubts.append(
            f"Sampling starts at sigma {highest:.3g}, where an error of the predicted noise counts that many times in the image. "
            f"Add {remedy}--sampling.spacing leading, or train with --process.prediction v."
        )
    return doubts
