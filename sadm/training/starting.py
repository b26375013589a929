"""The network that a training starts with: a fresh one, or a trained one made fit for other images and a fine-tuning method."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from torch import nn

from sadm.core.config import Config, flatten
from sadm.core.errors import UserError
from sadm.core.seeds import derive_seed
from sadm.data import ImageSet
from sadm.data.told import DAMAGE
from sadm.finetuning.tuning import class_tables, share_that_learns, tune
from sadm.models import DiT, autoencoder_hash
from sadm.models.positions import are_sincos
from sadm.training.config import ProcessConfig, TrainConfig
from sadm.training.description import model_spec
from sadm.training.fitting import fit_network, origins
from sadm.training.model_folder import Model, load_model, model_hash
from sadm.training.spec import ModelSpec

FITTED = (
    "label_counts",
    "augment",
    "attributes",
    "pictures",
    "centred",
    "shapes",
    "shape_counts",
    "shape",
    "class_names",
)
"""Parts of a model's specification that may differ between the model and what is trained from it."""


@dataclasses.dataclass(frozen=True)
class Start:
    """A network before its first step.

    Attributes:
        net: in train mode, on the CPU; with a fine-tuning method, only what learns has ``requires_grad``.
        also: names of the modules that learn beside what the method adds.
        base: hash of the model that it was made from; None = from scratch.
        said: what became of that model's tensors, for people; empty where nothing was changed.
        source: the network as that model gave it, frozen, where it was asked for; it shares all parameters that don't learn.
        labels: for each class, and the null class, the one that `source` is to see [K + 1]: the null class for what it never
            learned. None without a source or classes.
    """

    net: nn.Module
    also: tuple[str, ...] = ()
    base: str | None = None
    said: tuple[str, ...] = ()
    source: nn.Module | None = None
    labels: torch.Tensor | None = None


def process_of(config: TrainConfig) -> ProcessConfig:
    """The run's process; a `sigma_data` that is left open is that of the model it starts from, whose weights rely on it.

    Raises:
        UserError: there is no such model.
    """
    if config.start_from is None or config.process.sigma_data is not None:
        return config.process
    return config.process.model_copy(update={"sigma_data": model_spec(config.start_from).sigma_data})


def first_network(spec: ModelSpec, seed: int) -> nn.Module:
    """The network that a run of this seed begins with, where it begins from scratch; what is new in it, where it does not."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "network"))
        return spec.network()


def start(config: TrainConfig, spec: ModelSpec, keep_source: bool = False) -> Start:
    """Builds the network of a run, the same at every call.

    Args:
        config: of the run.
        spec: of the denoiser, with the run's images in it.
        keep_source: whether the network as it was is needed, too.

    Raises:
        UserError: the model to start from is of another network or process, draws something else than this run's images, or has
            nothing that the method could act on.
    """
    net = first_network(spec, config.seed)
    if config.start_from is None:
        return Start(net.train())
    with torch.random.fork_rng(devices=[]):
        model = load_model(config.start_from)
        _refuse_misfit(config, model, spec)
        fitted = fit_network(net, model.denoiser.net, model.spec, spec, config.finetune.renamed, config.seed)
        torch.manual_seed(derive_seed(config.seed, "fine-tuning"))
        also = tuple(dict.fromkeys((*fitted.changed, *class_tables(net))))
        source = copy.deepcopy(net, {id(part): part for part in net.parameters()}) if keep_source else None
        tune(net, config.finetune, also)
    said = fitted.said
    if config.finetune.method != "full":
        learns, there = share_that_learns(net)
        said = (*said, f"{config.finetune.method}: {learns:,} of {there:,} parameters learn ({learns / there:.2%}).")
    base, labels = model_hash(config.start_from), None
    if source is not None:
        source, labels = frozen(source), known_labels(model.spec, spec, config.finetune.renamed)
    return Start(net.train(), also, base, said, source, labels)


def frozen(source: nn.Module) -> nn.Module:
    """Gives a network that shares its parameters with one in training copies of those that learn, in place; in eval mode."""
    copies: dict[int, nn.Parameter] = {}
    for module in source.modules():
        for name, part in list(module.named_parameters(recurse=False)):
            if part.requires_grad:
                own = copies.setdefault(id(part), nn.Parameter(part.detach().clone(), requires_grad=False))
                setattr(module, name, own)
    return source.eval()


def known_labels(there: ModelSpec, here: ModelSpec, renamed: dict[str, str]) -> torch.Tensor | None:
    """`Start.labels` of a network of `here` that was made from one of `there`."""
    if not here.class_names:
        return None
    null = len(here.class_names)
    found = origins(there.class_names, here.class_names, renamed)
    return torch.tensor([*(null if old is None else own for own, old in enumerate(found)), null])


def _refuse_other_units(source: nn.Module, there: ModelSpec, here: ModelSpec) -> None:
    """Refuses images of several shapes where the network knows positions in other units than each of them would have.

    Raises:
        UserError: it was trained at another size, or has learned its positions.
    """
    if not here.shapes or not isinstance(source, DiT) or source.pos_embed is None:
        return
    if there.shape[1:] != here.shape[1:]:
        raise UserError(
            f"this model was trained at {there.shape[2]}x{there.shape[1]} pixels, and can't be continued on buckets of "
            f"{here.shape[2]}x{here.shape[1]}: the places of patches would mean one thing in squares and another in all other "
            f"shapes. Give --data.resolution {there.shape[1]}, or leave --data.fit buckets out."
        )
    if not are_sincos(source.pos_embed, source.grid):
        raise UserError(
            "this network has learned where its patches are, for one shape alone; buckets need positions that can be computed. "
            "Leave --data.fit buckets out."
        )


def _refuse_misfit(config: TrainConfig, model: Model, spec: ModelSpec) -> None:
    """Refuses a model that this run can't go on with, whatever is fitted."""
    if model.beside:
        raise UserError(
            f"--start-from {config.start_from}: that model was fine-tuned with learned tokens or adapters, which are no part of "
            "its network's weights. Start from the model that it was fine-tuned from."
        )
    _refuse_other_latents(config, model)
    _refuse_other_units(model.denoiser.net, model.spec, spec)
    if DAMAGE in model.spec.pictures and DAMAGE in spec.pictures and model.spec.centred != spec.centred:
        raise UserError(
            f"--start-from {config.start_from}: that model was told of damaged images in an earlier way, in which they were not "
            "what it starts from. Train it again, or leave 'damage' out of --data.tell."
        )
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


def refuse_too_few(config: TrainConfig, images: ImageSet) -> None:
    """Refuses a fine-tuning on fewer images than a batch, in which images would stand beside themselves.

    Args:
        config: of the run.
        images: those that are learned from.

    Raises:
        UserError: there are too few.
    """
    count, batch = len(images), config.optimiser.batch - config.prior_batch
    if config.start_from is not None and count < batch:
        raise UserError(
            f"{images.source} has {count} training images, fewer than a batch of {batch}: images would stand beside themselves. "
            f"Give --optimiser.batch {max(2, count // 2)} or less, or more images."
        )
