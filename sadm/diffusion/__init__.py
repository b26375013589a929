"""Diffusion behind one contract: ``denoiser(x_t, sigma, cond) -> x0_hat``.

Nothing here knows of structure guidance.
"""

from sadm.core.conditions import Cond
from sadm.diffusion.centred import Centred
from sadm.diffusion.class_mix import ClassMix
from sadm.diffusion.denoised import Denoised, Denoiser, denoise, denoising_loss
from sadm.diffusion.densities import Density, LogitNormalTime, LogNormalSigma, Stratified, UniformTime
from sadm.diffusion.editing import vary_images
from sadm.diffusion.edm import EDMDenoiser
from sadm.diffusion.flow import FlowDenoiser
from sadm.diffusion.generate import SamplerSettings, generate, image_seeds, prepare, sampling_times
from sadm.diffusion.grids import karras_sigmas, schedule_sigmas, spaced_timesteps, uniform_times
from sadm.diffusion.guidance import AutoGuidance, ClassifierFreeGuidance
from sadm.diffusion.inpaint import inpaint, inpaint_images
from sadm.diffusion.inversion import encode, interpolate_images
from sadm.diffusion.null_space import null_space
from sadm.diffusion.operators import Averaging, Blur, Grey, Masking, Operator, Projecting
from sadm.diffusion.path_denoiser import PathDenoiser
from sadm.diffusion.paths import Path, StraightLine, VarianceExploding, VariancePreserving
from sadm.diffusion.posterior import Posterior
from sadm.diffusion.prediction import Prediction, predict
from sadm.diffusion.restore import restore_images
from sadm.diffusion.samplers import (
    SOLVERS,
    Solver,
    ddim,
    ddpm,
    dpmpp_2m,
    dpmpp_2m_sde,
    euler,
    heun,
    heun_nfe,
    solver_nfe,
)
from sadm.diffusion.starting import from_infinity
from sadm.diffusion.vp import VPDenoiser, VPSchedule
from sadm.diffusion.weightings import (
    EDMWeighting,
    EpsWeighting,
    MinSNRWeighting,
    SigmoidWeighting,
    VelocityWeighting,
    Weighting,
    X0Weighting,
)

__all__ = [
    "SOLVERS",
    "AutoGuidance",
    "Averaging",
    "Blur",
    "Centred",
    "ClassMix",
    "ClassifierFreeGuidance",
    "Cond",
    "Denoised",
    "Denoiser",
    "Density",
    "EDMDenoiser",
    "EDMWeighting",
    "EpsWeighting",
    "FlowDenoiser",
    "Grey",
    "LogNormalSigma",
    "LogitNormalTime",
    "Masking",
    "MinSNRWeighting",
    "Operator",
    "Path",
    "PathDenoiser",
    "Posterior",
    "Prediction",
    "Projecting",
    "SamplerSettings",
    "SigmoidWeighting",
    "Solver",
    "StraightLine",
    "Stratified",
    "UniformTime",
    "VPDenoiser",
    "VPSchedule",
    "VarianceExploding",
    "VariancePreserving",
    "VelocityWeighting",
    "Weighting",
    "X0Weighting",
    "ddim",
    "ddpm",
    "denoise",
    "denoising_loss",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "encode",
    "euler",
    "from_infinity",
    "generate",
    "heun",
    "heun_nfe",
    "image_seeds",
    "inpaint",
    "inpaint_images",
    "interpolate_images",
    "karras_sigmas",
    "null_space",
    "predict",
    "prepare",
    "restore_images",
    "sampling_times",
    "schedule_sigmas",
    "solver_nfe",
    "spaced_timesteps",
    "uniform_times",
    "vary_images",
]
