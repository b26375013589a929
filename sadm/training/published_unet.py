"""UNets of diffusers as model folders of ours, and back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.models import UNetAdapter
from sadm.models.weights import Entry, SchedulerFacts, load_diffusers_unet, save_unet_folder
from sadm.training.config import NetConfig, SamplingConfig
from sadm.training.model_folder import Model
from sadm.training.net_config import UNetConfig
from sadm.training.published_parts import Imported, process_of
from sadm.training.spec import ModelSpec

_NO_MATTER = ("sample_size", "dropout", "num_train_timesteps")
"""Entries of a UNet's configuration that do not change what a trained one computes."""


def unet_from_folder(source: str | Path, null_is_last: bool | None) -> Imported:
    """A UNet in a folder of diffusers.

    Raises:
        UserError: it is no such folder, does not tell its process, or a model folder can't hold its process or its network.
    """
    net, report, facts = load_diffusers_unet(source, null_is_last)
    if facts.scheduler is None:
        raise UserError(
            f"{source} holds no scheduler_config.json, so the process of this network can't be told. Give the folder of the "
            "whole pipeline, or put the scheduler's file beside the network's."
        )
    process = process_of(facts.scheduler, facts.learned_variance, str(source))
    names = tuple(map(str, range(facts.num_classes)))
    spec = ModelSpec(facts.shape, _sizes(net.unet.config, str(source)), 0.5, names, (1,) * len(names), process)
    _check_same(net, spec, str(source))
    sampling = SamplingConfig(
        solver="ddim",
        steps=min(50, process.timesteps),
        spacing=facts.scheduler.other.get("timestep_spacing", "leading"),
        batch=64,
        clip=_clips(facts.scheduler, str(source)),
    )
    if facts.dropout:
        dropout = Entry("dropout", (), f"{facts.dropout:g} in training there, none here")
        report = dataclasses.replace(report, ignored=(*report.ignored, dropout))
    return Imported(net, report, spec, sampling)


def export_unet(
    model: Model, net: UNetAdapter, scheduler: SchedulerFacts, out: str | Path, autoencoder: str | None
) -> str:
    """Writes a UNet as a folder of diffusers and returns the call that loads it.

    Raises:
        UserError: a model of latents, or see `save_unet_folder`.
    """
    if autoencoder is not None or model.description.get("latents"):
        raise UserError("diffusers' pipelines of a UNet alone draw pixels; this one would need an autoencoder.")
    if model.spec.process.learned_variance:
        raise UserError(
            "this UNet predicts a variance beside the image (--process.learned-variance), and diffusers' DDIMPipeline takes its "
            "output for the image alone. Keep it in a model folder, or train one without."
        )
    facts = dataclasses.replace(
        scheduler, clip_sample=model.sampling.clip, other={"timestep_spacing": model.sampling.spacing}
    )
    if save_unet_folder(net, out, facts):
        return f"DDIMPipeline.from_pretrained({str(out)!r})"
    return f"UNet2DModel.from_pretrained({str(Path(out) / 'unet')!r})"


def _sizes(config: Any, source: str) -> NetConfig:
    attends = tuple(level for level, kind in enumerate(config.down_block_types) if kind == "AttnDownBlock2D")
    try:
        unet = UNetConfig(
            channels=tuple(config.block_out_channels),
            layers=config.layers_per_block,
            attention=attends,
            middle_attention=config.add_attention,
            head_width=config.attention_head_dim,
            groups=config.norm_num_groups,
            scale_shift=config.resnet_time_scale_shift == "scale_shift",
            downsample_padding=config.downsample_padding,
            cosine_first=config.flip_sin_to_cos,
        )
        return NetConfig(kind="unet", norm_eps=config.norm_eps, frequency_shift=config.freq_shift, unet=unet)
    except ValueError as error:
        raise UserError(f"{source} holds a UNet that a model folder can't hold: {error}") from error


def _check_same(net: UNetAdapter, spec: ModelSpec, source: str) -> None:
    """Refuses a UNet that our sizes do not describe."""
    with torch.device("meta"):
        built: Any = spec.network().unet
    theirs: Any = net.unet
    for key, value in built.config.items():
        if key not in _NO_MATTER and not key.startswith("_") and _plain(theirs.config[key]) != _plain(value):
            raise UserError(
                f"{source} holds a UNet with {key} {theirs.config[key]!r}, and a model folder can't hold it: it would "
                f"have {value!r}. In Python, load_diffusers_unet and VPDenoiser take it."
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _clips(scheduler: SchedulerFacts, source: str) -> bool:
    """Whether x0_hat is brought into [-1, 1] when such a model is sampled."""
    extent, dynamic = scheduler.other.get("clip_sample_range", 1.0), scheduler.other.get("thresholding", False)
    if dynamic or (scheduler.clip_sample and extent != 1):
        raise UserError(
            f"{source} is sampled with {'thresholding' if dynamic else f'clip_sample_range {extent}'}, which is not known here; "
            "expected none, or images in [-1, 1]. Change it in its scheduler_config.json."
        )
    return bool(scheduler.clip_sample)
