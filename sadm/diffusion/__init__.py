"""Diffusion behind one contract: ``denoiser(x_t, sigma, cond) -> x0_hat``.

Nothing here knows of structure guidance.
"""

from sadm.core.conditions import Cond
from sadm.diffusion.denoised import Denoised, Denoiser, denoise, denoising_loss
from sadm.diffusion.edm import EDMDenoiser, LogNormalSigma
from sadm.diffusion.generate import SamplerSettings, generate, image_seeds
from sadm.diffusion.guidance import ClassifierFreeGuidance
from sadm.diffusion.samplers import SOLVERS, dpmpp_2m, heun, heun_nfe, karras_sigmas, solver_nfe

__all__ = [
    "SOLVERS",
    "ClassifierFreeGuidance",
    "Cond",
    "Denoised",
    "Denoiser",
    "EDMDenoiser",
    "LogNormalSigma",
    "SamplerSettings",
    "denoise",
    "denoising_loss",
    "dpmpp_2m",
    "generate",
    "heun",
    "heun_nfe",
    "image_seeds",
    "karras_sigmas",
    "solver_nfe",
]
