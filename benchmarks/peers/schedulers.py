"""Sampling with the schedulers of diffusers; used by the contestants built on it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.peers.contestant import CLASSES, Sampler

NOISE_STEPS = 1000
EVERYWHERE = (0.0, math.inf)
SAMPLERS = {
    "dpmpp 20": Sampler("DPM-Solver++(2M), trailing steps", 20, {"kind": "dpmpp", "timestep_spacing": "trailing"}),
    "dpmpp karras 20": Sampler("DPM-Solver++(2M), Karras grid", 20, {"kind": "dpmpp", "use_karras_sigmas": True}),
    "dpmpp 50": Sampler("DPM-Solver++(2M), trailing steps", 50, {"kind": "dpmpp", "timestep_spacing": "trailing"}),
    "ddim 50": Sampler("DDIM, trailing steps", 50, {"kind": "ddim", "timestep_spacing": "trailing"}),
}
_TRAILING = {"kind": "dpmpp", "timestep_spacing": "trailing", "steps": 20}
GUIDED = {
    "guided 20": Sampler("DPM-Solver++(2M), trailing steps, guidance scale 1.25", 40, {**_TRAILING, "scale": 1.25}),
    "guided inside 20": Sampler(
        "DPM-Solver++(2M), trailing steps, guidance scale 1.5 for sigma from 0.25 to 5 (NFE at most)",
        40,
        {**_TRAILING, "scale": 1.5, "within": (0.25, 5.0)},
    ),
}
"""Away from the null class, the last row of the network's table: the two ways that this package's own models get."""
LEAST_LOG_SNR = {"squaredcos_cap_v2": -5.1}
"""Half the logarithm of the signal-to-noise ratio at which DPM-Solver++ starts on a schedule that ends in almost pure noise, as
diffusers advises: what is predicted there says next to nothing of the image."""
Net = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(x_t [B, C, H, W], step [B], label [B]) -> what the network predicts [B, C, H, W]."""


@dataclasses.dataclass(frozen=True)
class Process:
    """How noise is added and what the network predicts, in the words of diffusers' schedulers.

    Attributes:
        beta_schedule: "linear" or "squaredcos_cap_v2".
        prediction_type: "epsilon", "v_prediction" or "sample".
    """

    beta_schedule: str = "linear"
    prediction_type: str = "epsilon"


DDPM = Process()
MIDDLE_DEVIATION = 1.0
"""Of the normal distribution whose sigmoid is the share of the noise steps, with `times="middle"`."""


def draw_times(count: int, generator: torch.Generator, times: str = "uniform") -> torch.Tensor:
    """Noise steps [count] to train at: "uniform", or more of them in the "middle", as a logit-normal has it (2403.03206)."""
    if times == "uniform":
        return torch.randint(NOISE_STEPS, (count,), generator=generator)
    share = torch.sigmoid(MIDDLE_DEVIATION * torch.randn(count, generator=generator))  # [B]
    return (share * NOISE_STEPS).long().clamp(max=NOISE_STEPS - 1)


def min_snr_weight(kept: torch.Tensor, prediction_type: str, gamma: float) -> torch.Tensor:
    """Weight of the squared error of what is predicted that amounts to min(SNR, gamma) on x0 (2303.09556).

    Args:
        kept: share of the variance that is signal [...].
        prediction_type: see `Process`.
        gamma: the largest weight.
    """
    snr = kept / (1 - kept)
    squared = {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}[prediction_type]
    return snr.clamp(max=gamma) / squared


@torch.no_grad()
def draw(
    net: Net,
    shape: tuple[int, int, int],
    labels: torch.Tensor,
    first: int,
    seed: int,
    sampler: Sampler,
    process: Process = DDPM,
) -> torch.Tensor:
    """Images [n, C, H, W] in [-1, 1]; image i starts from the noise of its own seed.

    A sampler with a `scale` is guided away from the null class, the last row of the network's table, `within` its noise levels.
    """
    from sadm.core.seeds import noise_per_image
    from sadm.diffusion import image_seeds

    settings = dict(sampler.settings)
    scale, (low, high) = settings.pop("scale", None), settings.pop("within", EVERYWHERE)
    steps = settings.pop("steps", sampler.nfe)
    scheduler = _scheduler({**dataclasses.asdict(process), **settings})
    scheduler.set_timesteps(steps)
    if len(scheduler.timesteps) != steps:
        raise ValueError(f"{sampler.title} takes {len(scheduler.timesteps)} steps instead of {steps}")
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)  # it would look the first step up by its time, which a Karras grid may hold twice
    x = noise_per_image(image_seeds(seed, first + len(labels))[first:], shape) * scheduler.init_noise_sigma
    for step in scheduler.timesteps:
        kept = float(scheduler.alphas_cumprod[step])
        inside = scale is not None and low < math.sqrt((1 - kept) / kept) <= high
        predict = guided(net, scale) if inside else net
        scaled = scheduler.scale_model_input(x, step)
        x = scheduler.step(predict(scaled, step.expand(len(x)), labels), step, x).prev_sample
    return x.clamp(-1, 1)


def guided(net: Net, scale: float) -> Net:
    """Classifier-free guidance (2207.12598), both predictions in one batch."""

    def predict(x_t: torch.Tensor, t: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        labels = torch.cat([label, torch.full_like(label, CLASSES)])
        known, unknown = net(x_t.repeat(2, 1, 1, 1), t.repeat(2), labels).chunk(2)
        return unknown + scale * (known - unknown)

    return predict


def _scheduler(settings: dict[str, Any]) -> Any:
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    if settings.pop("kind") == "ddim":
        return DDIMScheduler(num_train_timesteps=NOISE_STEPS, **settings)
    least = LEAST_LOG_SNR.get(settings["beta_schedule"], -math.inf)
    return DPMSolverMultistepScheduler(num_train_timesteps=NOISE_STEPS, lambda_min_clipped=least, **settings)
