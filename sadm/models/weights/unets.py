"""Folders of diffusers' `UNet2DModel`, alone or in a pipeline without text (`DDPMPipeline`, `DDIMPipeline`), in and out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.core.files import folder_written_atomically, read_object, refuse_foreign_folder, write_json
from sadm.core.optional import import_optional
from sadm.core.tensors import save_tensors
from sadm.models.adapters import UNetAdapter
from sadm.models.weights.filling import fill
from sadm.models.weights.folders import CONFIG, OURS, PIPELINE, SCHEDULER, WEIGHTS, tensors_in
from sadm.models.weights.proportion import check_proportion, convolution_parameters
from sadm.models.weights.report import Entry, LoadReport
from sadm.models.weights.scheduler import SchedulerFacts

KIND = "UNet2DModel"
_MOST_CLASSES = 1_000_000
TABLE = "unet.class_embedding.weight"
# Names in folders from before diffusers 0.15, and those of today.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


@dataclasses.dataclass(frozen=True)
class UNetFacts:
    """What a folder of a UNet says besides the weights.

    Attributes:
        shape: one image, (C, H, W).
        num_classes: without the null class; 0 = unconditional.
        learned_variance: whether the network has twice as many output channels as input channels.
        dropout: of its training; here it has none.
        scheduler: the process; None = the folder has no scheduler.
    """

    shape: tuple[int, int, int]
    num_classes: int
    learned_variance: bool
    dropout: float
    scheduler: SchedulerFacts | None


def holds_unet(folder: str | Path) -> bool:
    """Whether a folder of diffusers is that of an unconditional or class-conditional UNet."""
    root = Path(folder)
    index = read_object(root / PIPELINE) if (root / PIPELINE).is_file() else {}
    config = read_object(root / CONFIG) if (root / CONFIG).is_file() else {}
    return "unet" in index or config.get("_class_name") == KIND


def load_diffusers_unet(
    path: str | Path, null_is_last: bool | None = None
) -> tuple[UNetAdapter, LoadReport, UNetFacts]:
    """A UNet with the weights of a diffusers folder, whose ``forward`` then gives the same numbers; c_noise is the timestep.

    Args:
        path: a pipeline's folder, with the network in ``unet`` or beside its index, or the network's folder alone.
        null_is_last: whether the last row of the class table is the null class; if not, one is added at the mean of the classes,
            and guidance has a meaning after training with label dropout alone. None = as when `save_unet_folder` wrote the
            folder, otherwise False, as diffusers has no word for it.

    Returns:
        The network in evaluation mode, in float32; what was loaded; and what the folder says besides.

    Raises:
        UserError: diffusers is not installed, the folder is something else, or its weights can't be read.
    """
    root = Path(path)
    folder = _network_folder(root)
    config = read_object(folder / CONFIG)
    ours = read_object(root / OURS) if (root / OURS).is_file() else {}
    null_is_last = ours.get("null_class", False) if null_is_last is None else null_is_last
    rows = config.get("num_class_embeds")
    adds_null = isinstance(rows, int) and not null_is_last
    stored = tensors_in(folder)
    claimed = convolution_parameters(config.get("block_out_channels", (224,)), config.get("layers_per_block", 2))
    check_proportion(claimed, 2 * sum(tensor.numel() for tensor in stored.values()), folder / CONFIG)
    if rows is not None and not (isinstance(rows, int) and 0 < rows <= _MOST_CLASSES):
        raise UserError(f"{folder / CONFIG}: num_class_embeds is {str(rows)[:40]}; expected a number of classes.")
    net = _build({**config, "dropout": 0.0, **({"num_class_embeds": (rows or 0) + 1} if adds_null else {})}, folder)
    tensors, notes = _by_our_names(stored)
    if adds_null and TABLE in tensors:
        table = tensors[TABLE]  # [K, D]
        tensors[TABLE] = torch.cat([table, table.float().mean(0, keepdim=True).to(table)])
    report = _noted(fill(net, tensors, str(folder)), notes, adds_null)
    own: Any = net.unet.config
    side = own.sample_size
    height, width = (side, side) if isinstance(side, int) else side
    scheduler = next((p for p in (root / "scheduler" / SCHEDULER, root / SCHEDULER) if p.is_file()), None)
    facts = UNetFacts(
        shape=(own.in_channels, height, width),
        num_classes=net.null_label or 0,
        learned_variance=own.out_channels == 2 * own.in_channels,
        dropout=float(config.get("dropout", 0.0)),
        scheduler=None if scheduler is None else SchedulerFacts.from_config(read_object(scheduler), str(scheduler)),
    )
    return net.eval(), report, facts


def refuse_other_times(scale: float) -> None:
    """Refuses a network of timesteps for diffusers that is given them times another scale than 1.

    Raises:
        UserError: it is.
    """
    if scale != 1:
        raise UserError(
            f"this network is given its timestep times {scale:g} (net.noise_scale); diffusers gives the timestep. "
            "Keep it in a model folder, or train one with noise_scale 1."
        )


def save_unet_folder(net: UNetAdapter, folder: str | Path, scheduler: SchedulerFacts) -> bool:
    """Writes a `DDIMPipeline` folder, which draws the images that this network draws; without the index of a pipeline where the
    network has classes, since no pipeline passes them on.

    Args:
        net: a network whose c_noise is the timestep.
        folder: where to write; an older pipeline there is replaced.
        scheduler: the process that the network was trained with.

    Returns:
        Whether it is a pipeline.

    Raises:
        UserError: the network is given something else than timesteps, or squares of pixels as channels; or the folder can't be
            written.
    """
    refuse_other_times(net.time_scale)
    if net.patch != 1:
        raise UserError(
            f"this UNet is given squares of {net.patch}x{net.patch} pixels as channels (--net.unet.patch), and no pipeline of "
            "diffusers cuts images into them. Keep it in a model folder, or train one with --net.unet.patch 1."
        )
    target, whole = Path(folder), net.null_label is None
    refuse_foreign_folder(target, OURS, "diffusers folder of ours")
    unet: Any = net.unet
    index = {
        "_class_name": "DDIMPipeline",
        "scheduler": ["diffusers", scheduler.class_name],
        "unet": ["diffusers", KIND],
    }
    with folder_written_atomically(target) as temporary:
        if whole:
            write_json(temporary / PIPELINE, index)
        write_json(temporary / OURS, {"null_class": not whole})
        write_json(temporary / "scheduler" / SCHEDULER, scheduler.to_config())
        plain = {key: value for key, value in unet.config.items() if not key.startswith("_")}
        write_json(temporary / "unet" / CONFIG, {"_class_name": KIND, **plain})
        save_tensors(temporary / "unet" / f"{WEIGHTS}.safetensors", unet.state_dict())
    return whole


def _network_folder(root: Path) -> Path:
    if not root.is_dir():
        raise UserError(f"{root} {'is a file' if root.exists() else 'does not exist'}. Expected a folder of diffusers.")
    index = read_object(root / PIPELINE) if (root / PIPELINE).is_file() else {}
    kind = (index.get("unet") or [None, KIND])[1]
    others = sorted({"vae", "vqvae", "text_encoder", "transformer"} & index.keys())
    if kind != KIND or others:
        raise UserError(
            f"{root} is a {index.get('_class_name')} with {', '.join([kind, *others])}; expected a pipeline of a {KIND} alone, "
            "such as a DDPMPipeline."
        )
    folder = root / "unet" if (root / "unet" / CONFIG).is_file() else root
    if not (folder / CONFIG).is_file():
        raise UserError(f"{root} holds no {CONFIG}, in itself or in 'unet'; expected the folder of a {KIND}.")
    return folder


def _build(config: Mapping[str, Any], folder: Path) -> UNetAdapter:
    """A UNet of this configuration."""
    diffusers = import_optional("diffusers", "diffusers", f"a {KIND}")
    found = config.get("_class_name")
    if found != KIND:
        raise UserError(f"{folder / CONFIG} describes a {found}; expected a {KIND}.")
    try:
        unet = diffusers.UNet2DModel.from_config({key: value for key, value in config.items() if key[0] != "_"})
    except Exception as error:  # of sizes that do not fit each other, diffusers and torch raise almost any type
        raise UserError(f"{folder / CONFIG} describes no {KIND} that diffusers can build: {error}.") from error
    own: Any = unet.config
    sides = own.sample_size if isinstance(own.sample_size, list | tuple) else [own.sample_size] * 2
    if (
        len(sides) != 2
        or not all(isinstance(side, int) and side > 0 for side in sides)
        or own.out_channels not in (own.in_channels, 2 * own.in_channels)
    ):
        raise UserError(
            f"{folder / CONFIG} has sample_size {own.sample_size}, and {own.out_channels} output channels for {own.in_channels} "
            "channels; expected the size of its images, and as many channels, or twice as many with a learned variance."
        )
    return UNetAdapter(unet, time_scale=1.0)


def _by_our_names(tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors by the adapter's names, and a note for each that has an old name in the file."""
    found, notes = {}, {}
    for name, tensor in tensors.items():
        *path, layer, part = ["unet", *name.split(".")]
        new = ".".join([*path, layer, part])
        if "attentions" in path and layer in _OLD_ATTENTION:
            new = ".".join([*path, _OLD_ATTENTION[layer], part])
            notes[new] = f"{layer}.{part} there"
        found[new] = tensor
    return found, notes


def _noted(report: LoadReport, notes: Mapping[str, str], adds_null: bool) -> LoadReport:
    """The report with old names, and with the class table in two parts where a null class was added."""
    loaded = [dataclasses.replace(entry, note=notes.get(entry.name, "")) for entry in report.loaded]
    if not adds_null:
        return dataclasses.replace(report, loaded=tuple(loaded))
    ((place, table),) = ((i, entry) for i, entry in enumerate(loaded) if entry.name == TABLE)
    rows, width = table.shape
    loaded[place] = Entry(TABLE, (rows - 1, width), "the classes")
    null = Entry(TABLE, (1, width), "a null class, at the mean of the classes")
    return dataclasses.replace(report, loaded=tuple(loaded), reinitialised=(null,))
