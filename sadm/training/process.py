"""From a process's configuration to what training needs: a denoiser, a density of noise levels, a weighting."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import nn

from sadm.core.errors import UserError
from sadm.diffusion import (
    Centred,
    Density,
    EDMDenoiser,
    EDMWeighting,
    EpsWeighting,
    FlowDenoiser,
    LogitNormalTime,
    LogNormalSigma,
    MinSNRWeighting,
    PathDenoiser,
    SigmoidWeighting,
    Stratified,
    UniformTime,
    VelocityWeighting,
    VPDenoiser,
    VPSchedule,
    Weighting,
    X0Weighting,
)
from sadm.diffusion.on_path import schedule_of
from sadm.training.config import DenoiserConfig, ProcessConfig

AnyDenoiser = EDMDenoiser | PathDenoiser | Centred
SCHEDULES: dict[str, Callable[..., VPSchedule]] = {
    "linear": VPSchedule.linear,
    "scaled_linear": VPSchedule.scaled_linear,
    "cosine": VPSchedule.cosine,
}
NOISE_SCALES = {"edm": 1000.0, "vp": 1.0, "flow": 1000.0}
"""What brings each process's c_noise to the hundreds that a sinusoidal embedding tells apart."""


def build_denoiser(net: nn.Module, config: DenoiserConfig, sigma_data: float) -> EDMDenoiser | PathDenoiser:
    """A network behind the denoiser's contract.

    Args:
        net: called as ``net(x [B, C, H, W], c_noise [B], cond)``.
        config: which process, and what the network predicts.
        sigma_data: standard deviation of the data, which EDM's preconditioning uses.
    """
    if config.kind == "vp":
        return VPDenoiser(net, build_schedule(config), config.prediction or "eps", config.learned_variance)
    if config.kind == "flow":
        return FlowDenoiser(net, "x0" if config.prediction == "x0" else "v", config.reversed_time)
    return EDMDenoiser(net, sigma_data)


def build_schedule(config: DenoiserConfig) -> VPSchedule:
    """The timesteps of a process of kind 'vp'.

    Raises:
        UserError: its betas leave nothing of an image before the last timestep, or raise no noise.
    """
    try:
        return SCHEDULES[config.schedule](config.timesteps, *(config.betas or ()))
    except ValueError as error:
        raise UserError(
            f"process.schedule '{config.schedule}', betas {config.betas or 'as usual'}, timesteps {config.timesteps}: {error}."
        ) from error


def build_density(config: ProcessConfig, denoiser: AnyDenoiser) -> Density:
    """The density of noise levels in training."""
    density: LogNormalSigma | UniformTime = log_normal(config)
    if (schedule := schedule_of(denoiser)) is not None:
        density = UniformTime(schedule)
    elif config.density == "uniform":
        density = UniformTime(denoiser.path)
    return Stratified(density) if config.stratified else density


def log_normal(config: ProcessConfig) -> LogNormalSigma:
    """The log-normal density of a process, which on the straight line is logit-normal in time; with its usual values where none
    are given: those of EDM (2206.00364), of flow matching (2403.03206), and of JiT (2511.13720) where a flow predicts x0."""
    usual: LogNormalSigma = LogNormalSigma()
    if config.kind == "flow":
        usual = LogitNormalTime(0.8, 0.8) if config.prediction == "x0" else LogitNormalTime()
    mean, std = config.p_mean, config.p_std
    return dataclasses.replace(usual, mean=usual.mean if mean is None else mean, std=usual.std if std is None else std)


def build_weighting(config: ProcessConfig, denoiser: AnyDenoiser, sigma_data: float) -> Weighting:
    """The loss weight by noise level, of the squared error of x0_hat."""
    if config.weighting is None:
        return denoiser.loss_weight
    weightings: dict[str, Callable[[], Weighting]] = {
        "edm": lambda: EDMWeighting(sigma_data),
        "eps": EpsWeighting,
        "x0": X0Weighting,
        "velocity": lambda: VelocityWeighting(0.05),
        "min_snr": lambda: MinSNRWeighting(config.min_snr_gamma),
        "sigmoid": lambda: SigmoidWeighting(config.sigmoid_bias),
    }
    return weightings[config.weighting]()
