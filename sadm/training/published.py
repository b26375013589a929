"""Published models as model folders of ours, and model folders as pipelines of diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from sadm.core.errors import UserError
from sadm.core.provenance import provenance
from sadm.diffusion import VPDenoiser, VPSchedule
from sadm.models import DiT, LatentCodec
from sadm.models.weights import (
    Entry,
    LoadReport,
    SchedulerFacts,
    load_diffusers_dit,
    load_dit_checkpoint,
    save_diffusers_folder,
)
from sadm.models.weights.naming import norm_eps
from sadm.training.config import DenoiserConfig, NetConfig, SamplingConfig
from sadm.training.model_folder import Model, save_model
from sadm.training.process import SCHEDULES
from sadm.training.spec import ModelSpec

Family = Literal["dit", "sit"]
PREDICTIONS: dict[str, Literal["eps", "v", "x0"]] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
SAMPLING = {
    "vp": SamplingConfig(solver="ddim", steps=50, guidance_scale=4.0, grid="native", spacing="leading", batch=8),
    "flow": SamplingConfig(solver="euler", steps=50, guidance_scale=4.0, grid="native", batch=8),
}
"""How published models are sampled unless told otherwise."""


def import_model(source: str | Path, out: str | Path, family: Family | None, autoencoder: str | None) -> LoadReport:
    """Writes a published model as a model folder.

    Args:
        source: a checkpoint of facebookresearch/DiT or of SiT, or a folder of diffusers (`DiTPipeline` or its transformer).
        out: the model folder to write.
        family: of a checkpoint, whose tensors do not tell a DiT from a SiT; None for a folder.
        autoencoder: an `AutoencoderKL` folder, copied into the model folder; None = the pipeline's own, if there is one.

    Returns:
        What became of every tensor.

    Raises:
        UserError: the source is no such model, its process is none of ours, or `out` can't be written.
    """
    if Path(source).is_dir():
        if family is not None:
            raise UserError(f"{source} is a folder, which says itself what it holds. Leave --family out.")
        net, report, process, names, own = _from_diffusers(source)
        autoencoder = autoencoder or own
    else:
        net, report, process, names = _from_checkpoint(source, family)
    if autoencoder is not None:
        LatentCodec.from_folder(autoencoder)  # refused here, or in the middle of the first sampling
    spec = ModelSpec(net.shape, _sizes(net), 0.5, names, (1,) * len(names), process)
    facts = {"weights": "imported", "latents": True, "source": Path(source).name, "provenance": provenance()}
    save_model(Path(out), spec, net.state_dict(), SAMPLING[process.kind], facts, autoencoder)
    return report


def export_pipeline(model: Model, out: str | Path, autoencoder: str | None) -> tuple[Entry, ...]:
    """Writes a model as a `DiTPipeline` folder, which diffusers loads and which draws the same images.

    Args:
        model: with process vp and net.frequency_shift 1.
        out: the folder to write.
        autoencoder: an `AutoencoderKL` folder; None = the model's own.

    Returns:
        The network's tensors that a pipeline does without; see `save_diffusers_folder`.

    Raises:
        UserError: diffusers' pipeline has no such process or network, or there is no autoencoder.
    """
    process, denoiser = model.spec.process, model.denoiser
    if not isinstance(denoiser, VPDenoiser):
        raise UserError(
            f"a DiTPipeline works on timesteps; this model's process is '{process.kind}'. Train with --process.kind vp."
        )
    folder = autoencoder or model.autoencoder
    if folder is None:
        raise UserError(
            "a DiTPipeline needs an autoencoder, and this model has none. Give the folder of one with --autoencoder."
        )
    schedule = {"linear": "linear", "cosine": "squaredcos_cap_v2"}[process.schedule]
    spoken = {ours: theirs for theirs, ours in PREDICTIONS.items()}
    facts = SchedulerFacts(beta_schedule=schedule, prediction_type=spoken[denoiser.prediction])
    names = dict(enumerate(model.spec.class_names))
    net: DiT = denoiser.net  # type: ignore[assignment]
    return save_diffusers_folder(net, out, autoencoder=folder, scheduler=facts, class_names=names)


def _from_checkpoint(
    source: str | Path, family: Family | None
) -> tuple[DiT, LoadReport, DenoiserConfig, tuple[str, ...]]:
    if family is None:
        raise UserError(
            f"the tensors of {source} do not say whether it is a DiT or a SiT. Give --family dit or --family sit."
        )
    net, report, facts = load_dit_checkpoint(source, keep_variance=family == "dit")
    if family == "sit":
        process = DenoiserConfig(kind="flow", reversed_time=True)
    else:
        process = DenoiserConfig(kind="vp", learned_variance=facts.learned_variance)
    return net, report, process, tuple(map(str, range(facts.num_classes)))


def _from_diffusers(source: str | Path) -> tuple[DiT, LoadReport, DenoiserConfig, tuple[str, ...], str | None]:
    net, report, facts = load_diffusers_dit(source)
    scheduler = facts.scheduler or SchedulerFacts()
    found = VPSchedule.from_betas(scheduler.betas()).sigmas
    known = {name: make().sigmas for name, make in SCHEDULES.items()}
    names = [name for name, own in known.items() if own.shape == found.shape and torch.allclose(own, found, rtol=1e-4)]
    if not names or scheduler.prediction_type not in PREDICTIONS:
        raise UserError(
            f"{source} was trained with betas '{scheduler.beta_schedule}', {scheduler.beta_start} to {scheduler.beta_end}, and "
            f"prediction '{scheduler.prediction_type}'; a model folder holds DDPM's linear betas (0.0001 to 0.02) or the cosine, "
            f"and {', '.join(PREDICTIONS)}. In Python, VPSchedule.from_betas takes any."
        )
    process = DenoiserConfig(
        kind="vp",
        schedule=names[0],  # type: ignore[arg-type]
        prediction=PREDICTIONS[scheduler.prediction_type],
        learned_variance=facts.learned_variance,
    )
    classes = tuple(facts.class_names.get(index, str(index)) for index in range(facts.num_classes))
    return net, report, process, classes, None if facts.autoencoder is None else str(facts.autoencoder)


def _sizes(net: DiT) -> NetConfig:
    """A network's sizes, as a configuration."""
    block = net.blocks[0]
    return NetConfig(
        patch=net.patch,
        width=net.x_embedder.proj.out_channels,
        depth=len(net.blocks),
        heads=block.attn.heads,  # type: ignore[union-attr, arg-type]
        mlp_ratio=block.mlp.fc1.out_features / net.x_embedder.proj.out_channels,  # type: ignore[union-attr, operator, arg-type]
        noise_scale=net.noise_scale,
        frequency_shift=1 if net.frequency_shift else 0,
        norm_eps=norm_eps(net),
    )
