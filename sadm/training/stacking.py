"""A model with adapters that were trained on it apart, and fine-tuned models as models that need no other."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from sadm.core.errors import UserError
from sadm.core.files import refuse_foreign_folder
from sadm.training.adapted import AdapterFacts
from sadm.training.description import DESCRIPTION
from sadm.training.fitting import fit_network
from sadm.training.model_folder import Model, load_model, save_model
from sadm.training.starting import first_network


@dataclasses.dataclass(frozen=True)
class Adapter:
    """A fine-tuned model's folder, and how much of its change is wanted.

    Attributes:
        path: of the run or model folder.
        weight: 1 = as it was trained.
    """

    path: str
    weight: float = 1.0

    @staticmethod
    def parse(text: str) -> Adapter:
        """From ``PATH`` or ``PATH:WEIGHT``."""
        path, colon, weight = text.rpartition(":")
        try:
            return Adapter(path, float(weight)) if colon and path else Adapter(text)
        except ValueError:
            return Adapter(text)


def with_adapters(model: str | Path, adapters: Sequence[Adapter], device: str = "cpu") -> Model:
    """A model with one or more adapters, weights ``W0 + sum_i a_i (W_i - W0)``.

    Of LoRA, that adds up the low-rank updates; of other methods it is arithmetic with task vectors (Ilharco et al. 2022, arXiv
    2212.04089).

    Args:
        model: the folder of the model that all of them were fine-tuned from.
        adapters: at least one.
        device: see `load_model`.

    Raises:
        UserError: one is no adapter or belongs to another model, or several are of other images or have parts beside weights.
    """
    loaded = [load_model(adapter.path, device, base=model) for adapter in adapters]
    for adapter, one in zip(adapters, loaded, strict=True):
        if "adapter" not in one.description:
            raise UserError(
                f"{adapter.path} holds a whole model, of which all weights learned, and no adapter. Draw from it "
                "without --adapter."
            )
    first = loaded[0]
    if len(loaded) == 1 and adapters[0].weight == 1:
        return first
    for adapter, one in zip(adapters, loaded, strict=True):
        for what in ("shape", "class_names"):
            if getattr(one.spec, what) != getattr(first.spec, what):
                raise UserError(
                    f"{adapter.path} has {what} {getattr(one.spec, what)}, {adapters[0].path} {getattr(first.spec, what)}: "
                    "adapters can be added up where they draw the same kind of images. Use one at a time."
                )
        if one.beside:
            raise UserError(
                f"{adapter.path} has learned tokens or adapters beside the weights, which can't be weighted or added up. Use it "
                "alone, or choose lora, dora, difffit or bitfit."
            )
    source = load_model(model, device)
    starts = [_start(source, one) for one in loaded]
    total = {name: tensor.cpu().double() for name, tensor in starts[0].items()}  # not every accelerator has float64
    for adapter, one, start in zip(adapters, loaded, starts, strict=True):
        end = one.denoiser.net.state_dict()
        for name in total:
            total[name] += adapter.weight * (end[name].cpu().double() - start[name].cpu().double())
    like = first.denoiser.net.state_dict()
    first.denoiser.net.load_state_dict({name: tensor.to(like[name].dtype) for name, tensor in total.items()})
    parts = " ".join(f"{one.hash}:{adapter.weight}" for adapter, one in zip(adapters, loaded, strict=True))
    return dataclasses.replace(first, hash=hashlib.sha256(parts.encode("ascii")).hexdigest())


def save_merged(model: Model, out: str | Path) -> None:
    """Writes a fine-tuned model as a folder that needs no other.

    Raises:
        UserError: it has parts beside its weights, or the folder can't be written or holds something else.
    """
    refuse_foreign_folder(Path(out), DESCRIPTION, "model folder")
    base = AdapterFacts.of(model.description).base if "adapter" in model.description else ""
    if any(place and Path(out).resolve() == Path(place).resolve() for place in (model.folder, base)):
        raise UserError(
            f"{out} holds the very model that is to be merged, or the one it belongs to. Choose another --out."
        )
    if model.beside:
        raise UserError(
            "learned tokens and adapters (vpt, adapter) stay beside the weights and can't be merged. Keep the run folder and the "
            "model that it belongs to."
        )
    own = ("step", "weights", "learned", "data", "provenance", "latents", "source")
    facts = {key: model.description[key] for key in own if key in model.description}
    if "adapter" in model.description:
        facts["merged"] = model.description["adapter"]
    save_model(Path(out), model.spec, model.denoiser.net.state_dict(), model.sampling, facts, model.autoencoder)


def _start(source: Model, tuned: Model) -> dict[str, torch.Tensor]:
    """The weights that a fine-tuning of `source` began with."""
    facts = AdapterFacts.of(tuned.description)
    net = first_network(tuned.spec, facts.seed).to(tuned.device)
    fit_network(net, source.denoiser.net, source.spec, tuned.spec, facts.finetune.renamed, facts.seed)
    return net.state_dict()
