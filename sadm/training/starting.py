"""The network that a training starts with: a fresh one, or a trained one made fit for other images and a fine-tuning method."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn

from sadm.core.config import Config, flatten
from sadm.core.errors import UserError
from sadm.core.seeds import derive_seed
from sadm.finetuning.tuning import class_tables, share_that_learns, tune
from sadm.models import autoencoder_hash
from sadm.training.config import ProcessConfig, TrainConfig
from sadm.training.fitting import fit_network
from sadm.training.model_folder import Model, load_model, model_hash
from sadm.training.spec import ModelSpec

FITTED = ("label_counts", "augment", "shapes", "shape_counts", "shape", "class_names")
"""Parts of a model's specification that may differ between the model and what is trained from it."""


@dataclasses.dataclass(frozen=True)
class Start:
    """A network before its first step.

    Attributes:
        net: in train mode, on the CPU; with a fine-tuning method, only what learns has ``requires_grad``.
        also: names of the modules that learn beside what the method adds.
        base: hash of the model that it was made from; None = from scratch.
        said: what became of that model's tensors, for people; empty where nothing was changed.
    """

    net: nn.Module
    also: tuple[str, ...] = ()
    base: str | None = None
    said: tuple[str, ...] = ()


def process_of(config: TrainConfig) -> ProcessConfig:
    """The run's process; a `sigma_data` that is left open is that of the model it starts from, whose weights rely on it.

    Raises:
        UserError: there is no such model.
    """
    if config.start_from is None or config.process.sigma_data is not None:
        return config.process
    return config.process.model_copy(update={"sigma_data": load_model(config.start_from).spec.sigma_data})


def start(config: TrainConfig, spec: ModelSpec) -> Start:
    """Builds the network of a run, the same at every call.

    Args:
        config: of the run.
        spec: of the denoiser, with the run's images in it.

    Raises:
        UserError: the model to start from is of another network or process, draws something else than this run's images, or has
            nothing that the method could act on.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "network"))
        net = spec.build().net
        if config.start_from is None:
            return Start(net.train())
        model = load_model(config.start_from)
        _refuse_misfit(config, model, spec)
        fitted = fit_network(net, model.denoiser.net, model.spec, spec, config.finetune.renamed, config.seed)
        torch.manual_seed(derive_seed(config.seed, "fine-tuning"))
        also = tuple(dict.fromkeys((*fitted.changed, *class_tables(net))))
        tune(net, config.finetune, also)
    said = fitted.said
    if config.finetune.method != "full":
        learns, there = share_that_learns(net)
        said = (*said, f"{config.finetune.method}: {learns:,} of {there:,} parameters learn ({learns / there:.2%}).")
    return Start(net.train(), also, model_hash(config.start_from), said)


def _refuse_misfit(config: TrainConfig, model: Model, spec: ModelSpec) -> None:
    """Refuses a model that this run can't go on with, whatever is fitted."""
    if model.beside:
        raise UserError(
            f"--start-from {config.start_from}: that model was fine-tuned with learned tokens or adapters, which are no part of "
            "its network's weights. Start from the model that it was fine-tuned from."
        )
    _refuse_other_latents(config, model)
    there, here = _flat(model.spec), _flat(spec)
    differing = [
        f"{key} {there.get(key)} there, {here.get(key)} here" for key in here | there if there.get(key) != here.get(key)
    ]
    if differing:
        raise UserError(
            f"--start-from {config.start_from}: that model can't be continued here: {'; '.join(differing)}. Give the same "
            "network and process (`sadm finetune` takes them from the model), or another model."
        )


def _flat(spec: ModelSpec) -> dict[str, Any]:
    """What may not differ between two models, by dotted key."""
    values = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec) if field.name not in FITTED}
    return flatten({key: value.model_dump() if isinstance(value, Config) else value for key, value in values.items()})


def _refuse_other_latents(config: TrainConfig, model: Model) -> None:
    """A model's latents, if it draws any, must be those of this run's autoencoder."""
    unknown = model.description.get("latents") and model.autoencoder is None  # imported without one
    theirs = None if model.autoencoder is None else autoencoder_hash(model.autoencoder)
    ours = None if config.data.autoencoder is None else autoencoder_hash(config.data.autoencoder)
    if unknown and ours is None:
        raise UserError(
            f"--start-from {config.start_from}: that model draws latents, and this run has no autoencoder that would make some. "
            "Give the one that it was trained with: --data.autoencoder FOLDER"
        )
    if theirs != ours and not unknown:
        kind = "pixels" if theirs is None else "latents of another autoencoder"
        remedy = "Leave --data.autoencoder out" if theirs is None else f"Give --data.autoencoder {model.autoencoder}"
        raise UserError(
            f"--start-from {config.start_from}: that model draws {kind}. {remedy}, or start from another model."
        )
