"""Published models as model folders of ours, and model folders as pipelines of diffusers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sadm.core.errors import UserError
from sadm.core.files import refuse_foreign_folder
from sadm.core.provenance import provenance
from sadm.diffusion import Centred, VPDenoiser
from sadm.models import DiT, LatentCodec, UNetAdapter
from sadm.models.weights import (
    Entry,
    LoadReport,
    SchedulerFacts,
    holds_unet,
    load_diffusers_dit,
    load_dit_checkpoint,
    save_diffusers_folder,
)
from sadm.models.weights.folders import PIPELINE
from sadm.models.weights.naming import norm_eps
from sadm.models.weights.unets import refuse_other_times
from sadm.training.config import USUAL_BETAS, DenoiserConfig, NetConfig, SamplingConfig
from sadm.training.description import DESCRIPTION
from sadm.training.model_folder import Model, save_model
from sadm.training.published_parts import PREDICTIONS, Imported, process_of
from sadm.training.published_unet import export_unet, unet_from_folder
from sadm.training.spec import ModelSpec

Family = Literal["dit", "sit"]
SAMPLING = {
    "vp": SamplingConfig(solver="ddim", steps=50, guidance_scale=4.0, grid="native", spacing="leading", batch=8),
    "flow": SamplingConfig(solver="euler", steps=50, guidance_scale=4.0, grid="native", batch=8),
}
"""How published models are sampled unless told otherwise."""


def import_model(
    source: str | Path,
    out: str | Path,
    family: Family | None,
    autoencoder: str | None,
    null_is_last: bool | None = None,
) -> LoadReport:
    """Writes a published model as a model folder.

    Args:
        source: a checkpoint of facebookresearch/DiT or of SiT, or a folder of diffusers (`DiTPipeline` or its transformer; a
            pipeline of a `UNet2DModel` such as `DDPMPipeline`).
        out: the model folder to write.
        family: of a checkpoint, whose tensors do not tell a DiT from a SiT; None for a folder.
        autoencoder: an `AutoencoderKL` folder, copied into the model folder; None = the pipeline's own, if there is one.
        null_is_last: of a UNet with classes (see `load_diffusers_unet`).

    Returns:
        What became of every tensor.

    Raises:
        UserError: the source is no such model, its process is none of ours, or `out` can't be written.
    """
    refuse_foreign_folder(Path(out), DESCRIPTION, "model folder")
    if Path(source).is_dir():
        if family is not None:
            raise UserError(f"{source} is a folder, which says itself what it holds. Leave --family out.")
        found = unet_from_folder(source, null_is_last) if holds_unet(source) else _from_diffusers(source)
    else:
        found = _from_checkpoint(source, family)
    if null_is_last is not None and found.spec.net.kind != "unet":
        raise UserError(
            f"{source} holds a DiT, whose class table says where its null class is. Leave --null-is-last out."
        )
    autoencoder = autoencoder or found.autoencoder
    latents = found.spec.net.kind == "dit" or autoencoder is not None
    if autoencoder is not None:
        channels = LatentCodec.from_folder(autoencoder).channels  # refused here, or in the middle of the first sampling
        if channels != found.spec.shape[0]:
            raise UserError(
                f"the autoencoder in {autoencoder} makes latents of {channels} channels, and {source} holds a network for "
                f"{found.spec.shape[0]}. Give the autoencoder that it was trained with (--autoencoder)."
            )
    facts = {"weights": "imported", "latents": latents, "source": Path(source).name, "provenance": provenance()}
    sampling = found.sampling.model_copy(update={"clip": False}) if latents else found.sampling
    save_model(Path(out), found.spec, found.net.state_dict(), sampling, facts, autoencoder)
    return found.report


def export_pipeline(model: Model, out: str | Path, autoencoder: str | None) -> tuple[tuple[Entry, ...], str]:
    """Writes a model as a folder that diffusers loads and that draws the same images: a `DiTPipeline`, or of a UNet a
    `DDIMPipeline`.

    Args:
        model: with process vp; of a DiT with net.frequency_shift 1.
        out: the folder to write.
        autoencoder: an `AutoencoderKL` folder; None = the model's own. A UNet's pipeline has none.

    Returns:
        The network's tensors that a pipeline does without (see `save_diffusers_folder`), and the call that loads the folder.

    Raises:
        UserError: diffusers' pipeline has no such process or network, or there is no autoencoder.
    """
    process, denoiser = model.spec.process, model.denoiser
    if isinstance(denoiser, Centred):
        raise UserError(
            "diffusers' pipelines can't show a damaged image to a network, as this one was trained to expect."
        )
    if not isinstance(denoiser, VPDenoiser):
        raise UserError(
            f"diffusers' pipelines work on timesteps; this model's process is '{process.kind}'. Train with --process.kind vp."
        )
    spoken = {ours: theirs for theirs, ours in PREDICTIONS.items()}
    first, last = process.betas or USUAL_BETAS
    facts = SchedulerFacts(
        num_train_timesteps=process.timesteps,
        beta_schedule={"cosine": "squaredcos_cap_v2"}.get(process.schedule, process.schedule),
        beta_start=first,
        beta_end=last,
        prediction_type=spoken[denoiser.prediction],
    )
    if isinstance(denoiser.net, UNetAdapter):
        return (), export_unet(model, denoiser.net, facts, out, autoencoder)
    folder = autoencoder or model.autoencoder
    if folder is None:
        raise UserError(
            "a DiTPipeline needs an autoencoder, and this model has none. Give the folder of one with --autoencoder."
        )
    names = dict(enumerate(model.spec.class_names))
    net: DiT = denoiser.net  # type: ignore[assignment]
    refuse_other_times(net.noise_scale)
    left = save_diffusers_folder(net, out, autoencoder=folder, scheduler=facts, class_names=names)
    return left, f"DiTPipeline.from_pretrained({str(out)!r})"


def _refuse_other_family(args: Mapping[str, Any], family: Family, source: str | Path) -> None:
    """Refuses a checkpoint whose training script's options say that it is of another family, or of a path that is not here."""
    if family == "dit" and "path_type" in args:
        raise UserError(f"{source} says that a script of SiT trained it (path_type). Give --family sit.")
    usual = {"path_type": "Linear", "prediction": "velocity"}
    for name, value in usual.items():
        if family == "sit" and args.get(name, value) != value:
            raise UserError(
                f"{source} says that it was trained with {name} {args[name]!r}; a model folder holds the SiTs of {name} "
                f"{value!r}. In Python, load_dit_checkpoint gives the network."
            )


def _from_checkpoint(source: str | Path, family: Family | None) -> Imported:
    if family is None:
        raise UserError(
            f"the tensors of {source} do not say whether it is a DiT or a SiT. Give --family dit or --family sit."
        )
    net, report, facts = load_dit_checkpoint(source, keep_variance=family == "dit")
    _refuse_other_family(facts.training_args, family, source)
    if family == "sit":
        process = DenoiserConfig(kind="flow", reversed_time=True)
    else:
        process = DenoiserConfig(kind="vp", learned_variance=facts.learned_variance)
    return _imported_dit(net, report, process, tuple(map(str, range(facts.num_classes))))


def _from_diffusers(source: str | Path) -> Imported:
    net, report, facts = load_diffusers_dit(source, noise_scale=1.0)  # a pipeline tells its network timesteps
    if facts.scheduler is None and (Path(source).parent / PIPELINE).is_file():
        raise UserError(
            f"{source} is a part of the pipeline in {Path(source).parent}, which says what process and classes it has. Give that "
            "folder."
        )
    process = process_of(facts.scheduler or SchedulerFacts(), facts.learned_variance, str(source))
    classes = tuple(facts.class_names.get(index, str(index)) for index in range(facts.num_classes))
    return _imported_dit(net, report, process, classes, None if facts.autoencoder is None else str(facts.autoencoder))


def _imported_dit(
    net: DiT, report: LoadReport, process: DenoiserConfig, names: tuple[str, ...], autoencoder: str | None = None
) -> Imported:
    spec = ModelSpec(net.shape, _sizes(net), 0.5, names, (1,) * len(names), process)
    sampling = SAMPLING[process.kind]
    if process.kind == "vp":
        sampling = sampling.model_copy(update={"steps": min(sampling.steps, process.timesteps)})
    if not names:
        sampling = sampling.model_copy(update={"guidance_scale": 1.0})
    return Imported(net, report, spec, sampling, autoencoder)


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
