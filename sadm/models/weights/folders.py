"""Reading diffusers' folders of a `DiTTransformer2DModel` or a `DiTPipeline`, without diffusers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.core.files import read_object
from sadm.models.dit import DiT
from sadm.models.weights.files import read_weights
from sadm.models.weights.filling import fill
from sadm.models.weights.naming import TABLE, from_diffusers_state_dict, set_norm_eps
from sadm.models.weights.proportion import check_proportion, transformer_parameters
from sadm.models.weights.report import Entry, LoadReport
from sadm.models.weights.scheduler import SchedulerFacts

PIPELINE, CONFIG, SCHEDULER, OURS = "model_index.json", "config.json", "scheduler_config.json", "sadm.json"
WEIGHTS = "diffusion_pytorch_model"
_FREE = 1 << 22  # numbers: positions are computed

# What our network can't have otherwise; also what a DiTTransformer2DModel has where its file leaves it out.
_FIXED = {
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "norm_elementwise_affine": False,
    "norm_type": "ada_norm_zero",
}
# What a file may claim: its numbers decide how much memory is asked for.
_LARGEST = {
    "num_attention_heads": 4096,
    "attention_head_dim": 65_536,
    "in_channels": 65_536,
    "out_channels": 131_072,
    "num_layers": 65_536,
    "sample_size": 4096,
    "patch_size": 4096,
    "norm_eps": 1,
}
# Of a DiTTransformer2DModel; the older Transformer2DModel has others, and its files name all that matters.
_THEIR_DEFAULTS = {
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": None,
    "num_layers": 28,
    "sample_size": 32,
    "patch_size": 2,
    "norm_eps": 1e-5,
}


@dataclasses.dataclass(frozen=True)
class DiffusersFacts:
    """What a diffusers folder says besides the weights.

    Attributes:
        shape: one latent, (C, H, W).
        num_classes: without the null class; 0 = unconditional.
        learned_variance: whether the network has twice as many output channels as input channels.
        norm_eps: epsilon of the norm in front of each MLP.
        scheduler: the process; None = the folder has no scheduler.
        autoencoder: the folder of the autoencoder; None = there is none.
        class_names: by class; empty where the folder names none.
    """

    shape: tuple[int, int, int]
    num_classes: int
    learned_variance: bool
    norm_eps: float
    scheduler: SchedulerFacts | None
    autoencoder: Path | None
    class_names: dict[int, str]


def load_diffusers_dit(
    path: str | Path,
    *,
    shape: tuple[int, int, int] | None = None,
    num_classes: int | None = None,
    frequency_shift: float = 1.0,
    noise_scale: float | None = None,
) -> tuple[DiT, LoadReport, DiffusersFacts]:
    """A network with the weights of a diffusers folder, whose ``forward`` then gives the same numbers.

    Args:
        path: a `DiTPipeline` folder (with model_index.json), or one of its transformer alone (with config.json).
        shape: the expected latent (C, H, W).
        num_classes: the expected number of classes.
        frequency_shift: 1 = as diffusers computes; 0 = as the weights of facebookresearch/DiT were trained, which diffusers'
            folders of them ignore.
        noise_scale: see `DiT`; None = as when `save_diffusers_folder` wrote the folder, otherwise 1: c_noise is the timestep.

    Returns:
        The network in evaluation mode, in float32; what was loaded; and what the folder says besides.

    Raises:
        UserError: the folder is empty or something else, its weights can't be read, or it is not as expected.
    """
    root = Path(path)
    folder = _transformer_folder(root)
    config = _config(folder / CONFIG)
    own_classes, own_scale = _ours(root / OURS)
    tensors = from_diffusers_state_dict(tensors_in(folder), str(folder))
    if TABLE not in tensors:
        raise UserError(f"{folder} holds no class table (class_embedder); is it a DiTTransformer2DModel?")
    if tensors[TABLE].ndim != 2:
        raise UserError(f"{folder}: the class table has {tensors[TABLE].ndim} axes; expected 2.")
    ignored = _take_own_classes(tensors, own_classes, root / OURS)
    found = len(tensors[TABLE]) - 1 if TABLE in tensors else 0
    channels, side, patch = config["in_channels"], config["sample_size"], config["patch_size"]
    _check_expected((channels, side, side), found, shape, num_classes, folder)
    width, depth = config["num_attention_heads"] * config["attention_head_dim"], config["num_layers"]
    _check_claimed(width, depth, patch, (channels, side, side), tensors, folder / CONFIG)
    net = DiT(
        (channels, side, side),
        patch,
        width=width,
        depth=depth,
        heads=config["num_attention_heads"],
        num_classes=found,
        noise_scale=own_scale if noise_scale is None else noise_scale,
        out_channels=config["out_channels"],
        frequency_shift=frequency_shift,
    )
    set_norm_eps(net, config["norm_eps"])
    computed = Entry("pos_embed", tuple(net.get_buffer("pos_embed").shape), "computed, as in diffusers")
    report = fill(net, tensors, str(folder), [computed], ignored)
    facts = DiffusersFacts(
        shape=(channels, side, side),
        num_classes=found,
        learned_variance=config["out_channels"] == 2 * channels,
        norm_eps=config["norm_eps"],
        scheduler=_scheduler(root / "scheduler" / SCHEDULER),
        autoencoder=root / "vae" if (root / "vae" / CONFIG).is_file() else None,
        class_names=_class_names(root / PIPELINE),
    )
    return net.eval(), report, facts


def _ours(path: Path) -> tuple[int | None, float]:
    """Number of classes and factor on the noise level, as `save_diffusers_folder` noted them; None and 1 where it did not."""
    noted = read_object(path) if path.is_file() else {}
    classes, scale = noted.get("num_classes"), noted.get("noise_scale", 1.0)
    if not isinstance(classes, int | None) or not isinstance(scale, int | float) or (classes or 0) < 0:
        raise UserError(f"{path} holds no number of classes or no factor on the noise level. Restore or delete it.")
    return classes, float(scale)


def _check_claimed(
    width: int, depth: int, patch: int, shape: tuple[int, int, int], tensors: Mapping[str, torch.Tensor], path: Path
) -> None:
    """Refuses a configuration that no DiT has, or whose network would be far larger than the weights beside it."""
    side = shape[-1]
    claimed = transformer_parameters(width, depth, 4, patch, shape) + width * (side / patch) ** 2
    check_proportion(claimed, 2 * sum(tensor.numel() for tensor in tensors.values()) + _FREE, path)
    if side % patch or width % 4:
        raise UserError(f"{path}: {side} pixels in patches of {patch}, tokens of {width} channels; no DiT is so.")


def _transformer_folder(root: Path) -> Path:
    if not root.is_dir():
        what = "is a file; a checkpoint is loaded by load_dit_checkpoint" if root.exists() else "does not exist"
        raise UserError(f"{root} {what}. Expected a folder that diffusers saved.")
    if (root / PIPELINE).is_file():
        folder = root / "transformer"
        if not (folder / CONFIG).is_file():
            raise UserError(
                f"{root} is a pipeline without {folder / CONFIG}; expected a DiTPipeline, whose network lies there."
            )
        return folder
    if not (root / CONFIG).is_file():
        held = ", ".join(sorted(entry.name for entry in root.iterdir())[:5]) or "nothing"
        raise UserError(
            f"{root} holds {held}; expected {PIPELINE} (a DiTPipeline) or {CONFIG} (its transformer), as diffusers saves them."
        )
    return root


def _config(path: Path) -> dict[str, Any]:
    """The transformer's configuration, complete; refuses what our network can't compute."""
    given = read_object(path)
    kind = given.get("_class_name")
    if kind not in ("DiTTransformer2DModel", "Transformer2DModel"):
        raise UserError(f"{path} describes a {kind}; expected a DiTTransformer2DModel.")
    for key, value in _FIXED.items():
        if given.get(key, value) != value:
            raise UserError(
                f"{path}: {key} is {given[key]!r}; our network has {value!r} there and can't compute this one."
            )
    config = {**_THEIR_DEFAULTS, **given}
    if not isinstance(config["sample_size"], int):
        raise UserError(
            f"{path}: sample_size is {config['sample_size']!r}; expected one number, as DiT's images are square."
        )
    if config["out_channels"] is None:
        config["out_channels"] = config["in_channels"]
    odd = [name for name, largest in _LARGEST.items() if not _is_size(config[name], largest)]
    if odd:
        raise UserError(
            f"{path}: {odd[0]} is {str(config[odd[0]])[:40]}; expected a number above 0, and at most {_LARGEST[odd[0]]}."
        )
    return config


def _is_size(value: Any, largest: float) -> bool:
    kinds = (int, float) if largest == 1 else int
    return isinstance(value, kinds) and not isinstance(value, bool) and 0 < value <= largest


def tensors_in(folder: Path) -> Mapping[str, torch.Tensor]:
    """All weights of a folder of diffusers, from one file or from the parts that an index lists.

    Raises:
        UserError: there are none, or they can't be read (see `read_weights`).
    """
    index = folder / f"{WEIGHTS}.safetensors.index.json"
    whole = [name for ending in ("safetensors", "bin") if (folder / (name := f"{WEIGHTS}.{ending}")).is_file()]
    names = _parts(index) if index.is_file() else whole[:1]
    if not names:
        held = ", ".join(sorted(entry.name for entry in folder.iterdir())[:5])
        raise UserError(f"{folder} holds {held}, and no weights; expected {WEIGHTS}.safetensors there.")
    found: dict[str, torch.Tensor] = {}
    for name in names:
        content = read_weights(folder / name)
        if not isinstance(content, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in content.values()):
            raise UserError(f"{folder / name} holds something else than tensors by name. Download or copy it again.")
        found |= {str(key): tensor for key, tensor in content.items()}
    return found


def _parts(index: Path) -> list[str]:
    """The files that an index names; they lie beside it, whatever folder it says."""
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not all(
        isinstance(place, str) and Path(place).name for place in places.values()
    ):
        raise UserError(f"{index} has no weight_map from tensors to files; expected one, as diffusers writes it.")
    return sorted({Path(place).name for place in places.values()})


def _take_own_classes(tensors: dict[str, torch.Tensor], num_classes: int | None, source: Path) -> list[Entry]:
    """Undoes what `save_diffusers_folder` did to the class table; in place."""
    table = tensors[TABLE]  # [K + 1, D]
    if num_classes is None or num_classes == len(table) - 1:
        return []
    if num_classes >= len(table):
        raise UserError(
            f"{source} says {num_classes} classes; the table beside it has {len(table) - 1} and the null class. Delete "
            f"{source.name} if the network was changed since it was saved."
        )
    if num_classes:
        tensors[TABLE] = torch.cat([table[:num_classes], table[-1:]])
    else:
        del tensors[TABLE]
    padding = len(table) - (num_classes + 1 if num_classes else 0)
    return [Entry("class_embedder.embedding_table.weight", (padding, table.shape[1]), "rows that diffusers needs")]


def _check_expected(
    shape: tuple[int, int, int],
    classes: int,
    asked_shape: tuple[int, int, int] | None,
    asked_classes: int | None,
    folder: Path,
) -> None:
    if asked_shape is not None and tuple(asked_shape) != shape:
        raise UserError(
            f"{folder} is for images {list(shape)} (channels, height, width); {list(asked_shape)} were asked for. Leave "
            "shape out, or choose a network of that size."
        )
    if asked_classes is not None and asked_classes != classes:
        raise UserError(
            f"{folder} has {classes} classes and the null class; {asked_classes} were asked for. Load it without "
            "num_classes, then change its table on purpose: resize_class_table(net, ...)."
        )


def _scheduler(path: Path) -> SchedulerFacts | None:
    return SchedulerFacts.from_config(read_object(path), str(path)) if path.is_file() else None


def _class_names(index: Path) -> dict[int, str]:
    names = read_object(index).get("id2label") if index.is_file() else None
    if not isinstance(names, dict | None) or not all(label.isdecimal() and len(label) < 10 for label in names or {}):
        raise UserError(f"{index}: id2label is {str(names)[:80]}; expected names by the numbers of the classes.")
    return {int(label): str(name) for label, name in (names or {}).items()}
