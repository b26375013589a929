"""What published models of every kind of network have in common: what is read of them, and their process."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import nn

from sadm.core.errors import UserError
from sadm.diffusion import VPSchedule
from sadm.models.weights import LoadReport, SchedulerFacts
from sadm.training.config import DenoiserConfig, SamplingConfig
from sadm.training.process import build_schedule
from sadm.training.spec import ModelSpec

PREDICTIONS: dict[str, Literal["eps", "v", "x0"]] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
SCHEDULES: dict[str, Literal["linear", "scaled_linear", "cosine"]] = {
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "squaredcos_cap_v2": "cosine",
}


@dataclasses.dataclass(frozen=True)
class Imported:
    """A published model, before it is written.

    Attributes:
        net: with its weights.
        report: what became of every tensor.
        spec: builds the same network.
        sampling: how it is sampled unless told otherwise.
        autoencoder: the folder of its own; None = it has none.
    """

    net: nn.Module
    report: LoadReport
    spec: ModelSpec
    sampling: SamplingConfig
    autoencoder: str | None = None


def process_of(scheduler: SchedulerFacts, learned_variance: bool, source: str) -> DenoiserConfig:
    """The process of a diffusers scheduler.

    Raises:
        UserError: a schedule or a prediction that a model folder can't hold.
    """
    try:
        betas = scheduler.betas()
        wanted = VPSchedule.from_betas(betas).sigmas
    except ValueError as error:
        raise UserError(f"the scheduler of {source} describes no process: {error}.") from error
    named = scheduler.trained_betas is None
    ends = (scheduler.beta_start, scheduler.beta_end) if named else (float(betas[0]), float(betas[-1]))
    # Betas that are listed may be those of a schedule with a name.
    known = [SCHEDULES[scheduler.beta_schedule]] if named else list(SCHEDULES.values())
    for schedule in known if 0 < ends[0] <= ends[1] < 1 else []:
        process = DenoiserConfig(
            kind="vp",
            schedule=schedule,
            betas=None if schedule == "cosine" else ends,
            timesteps=len(betas),
            prediction=PREDICTIONS.get(scheduler.prediction_type),
            learned_variance=learned_variance,
        )
        same = torch.allclose(build_schedule(process).sigmas, wanted, rtol=1e-4)
        if same and scheduler.prediction_type in PREDICTIONS:
            return process
    what = f"betas '{scheduler.beta_schedule}'" if named else f"{len(betas)} betas of its own (trained_betas)"
    raise UserError(
        f"{source} was trained with {what}, {ends[0]:g} to {ends[1]:g}"
        f"{', rescaled to end in pure noise' if scheduler.rescale_betas_zero_snr else ''}, and prediction "
        f"'{scheduler.prediction_type}'; a model folder holds the schedules {', '.join(SCHEDULES)}, and the predictions "
        f"{', '.join(PREDICTIONS)}. In Python, VPSchedule.from_betas takes any betas."
    )
