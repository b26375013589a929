"""Weights of facebookresearch/DiT, fast-DiT and SiT: a state dict, or a training checkpoint that holds one.

The parameters have our own names. What differs is around them: the checkpoint says neither its sizes nor its process.
DiT's time is the index of a step, 0 to 999, and its output the noise and the variance; SiT's is in [0, 1], with the data at 1,
and its output the velocity (data minus noise), with as many channels that are computed and thrown away.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sadm.core.dit_sizes import DIT_SIZES
from sadm.core.errors import UserError
from sadm.models.dit import DiT
from sadm.models.positions import are_sincos
from sadm.models.weights.files import read_weights
from sadm.models.weights.filling import fill, some
from sadm.models.weights.report import Entry, LoadReport

HEADS = {size.width: size.heads for size in DIT_SIZES.values()}
TABLE, OUTPUT = "y_embedder.embedding_table.weight", "final_layer.linear"
_REDUCED = "x_embedder.reduce.weight"
_NEEDED = ("x_embedder.proj.weight", f"{OUTPUT}.weight", f"{OUTPUT}.bias", "blocks.0.mlp.fc1.weight")


@dataclasses.dataclass(frozen=True)
class CheckpointFacts:
    """What a checkpoint says about itself, mostly by the shapes of its tensors.

    Attributes:
        source: which of its state dicts was taken: ``ema``, ``model``, or ``plain`` where it is one itself.
        shape: one latent, (C, H, W).
        patch: side of a patch.
        width: channels of a token.
        depth: number of blocks.
        heads: attention heads.
        mlp_ratio: hidden width of the MLP over `width`.
        num_classes: without the null class; 0 = unconditional.
        learned_variance: whether the file's network has twice as many output channels as input channels.
        training_args: the options of the script that wrote the file; empty where it holds none.
    """

    source: str
    shape: tuple[int, int, int]
    patch: int
    width: int
    depth: int
    heads: int
    mlp_ratio: float
    num_classes: int
    learned_variance: bool
    training_args: dict[str, Any]


def load_dit_checkpoint(
    path: str | Path,
    *,
    shape: tuple[int, int, int] | None = None,
    num_classes: int | None = None,
    heads: int | None = None,
    keep_variance: bool = True,
    noise_scale: float = 1.0,
    ignoring: Sequence[str] = (),
) -> tuple[DiT, LoadReport, CheckpointFacts]:
    """A network with the weights of a DiT or SiT checkpoint; of a training checkpoint, its moving average.

    Args:
        path: a ``.pt`` or ``.safetensors`` file.
        shape: the expected latent (C, H, W); None = square, by the file's table of positions.
        num_classes: the expected number of classes; None = as many as the file's table has, less the null class.
        heads: attention heads; None = those of the published network of this width.
        keep_variance: False drops the second half of the output channels where the network has learned a variance. SiT never
            uses that half.
        noise_scale: see `DiT`; 1 = c_noise is the checkpoint's own time (DiT: 0 to 999, SiT: 0 to 1).
        ignoring: tensors whose names begin so are left out, such as ``projectors.`` of a network trained with REPA.

    Returns:
        The network in evaluation mode, in float32; what was loaded; and what the file says about itself.

    Raises:
        UserError: the file can't be read (see `read_weights`), is no DiT, or is not as expected.
    """
    source, everything, training_args = _state_dict_of(read_weights(path), path)
    tensors = {name: value for name, value in everything.items() if not name.startswith(tuple(ignoring))}
    ignored = [Entry(name, tuple(everything[name].shape)) for name in everything if name not in tensors]
    facts = _facts(tensors, source, training_args, str(path), shape, heads)
    _check_classes(facts, num_classes, str(path))
    channels = facts.shape[0]
    if facts.learned_variance and not keep_variance:
        tensors, dropped = _without_variance(tensors, channels)
        ignored += dropped
    net = DiT(
        facts.shape,
        facts.patch,
        facts.width,
        facts.depth,
        facts.heads,
        facts.mlp_ratio,
        facts.num_classes,
        noise_scale,
        out_channels=len(tensors[f"{OUTPUT}.bias"]) // facts.patch**2,
    )
    positions = (1, net.grid[0] * net.grid[1], facts.width)
    computed = [] if "pos_embed" in tensors else [Entry("pos_embed", positions, "computed")]
    report = fill(net, tensors, str(path), computed, ignored)
    return net.eval(), report, facts


def _state_dict_of(content: Any, path: str | Path) -> tuple[str, dict[str, torch.Tensor], dict[str, Any]]:
    """Which state dict was chosen, itself, and the training script's options."""
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}; expected a state dict of a DiT.")
    source = next((key for key in ("ema", "model") if isinstance(content.get(key), Mapping)), "plain")
    state = content if source == "plain" else content[source]
    tensors = {str(name): value for name, value in state.items() if isinstance(value, torch.Tensor)}
    for wrapper in ("module.", "_orig_mod."):  # of DistributedDataParallel and torch.compile
        if tensors and all(name.startswith(wrapper) for name in tensors):
            tensors = {name.removeprefix(wrapper): value for name, value in tensors.items()}
    if not all(name in tensors for name in _NEEDED) or tensors[_NEEDED[0]].ndim != 4:
        found = some(tensors or map(str, state))
        raise UserError(
            f"{path} is no checkpoint of a DiT: it lacks {some(name for name in _NEEDED if name not in tensors) or 'patches'}. "
            f"It holds {found or 'nothing'}. Expected a state dict with the names of facebookresearch/DiT, or one under 'ema' or "
            "'model'."
        )
    if _REDUCED in tensors:
        raise UserError(
            f"{path} projects its patches in two steps ({_REDUCED}), as no published DiT does. Keep such a network in a model "
            "folder, which holds its sizes."
        )
    args = content.get("args") if source != "plain" else None
    return source, tensors, dict(vars(args)) if isinstance(args, argparse.Namespace) else {}


def _facts(
    tensors: Mapping[str, torch.Tensor],
    source: str,
    training_args: dict[str, Any],
    path: str,
    shape: tuple[int, int, int] | None,
    heads: int | None,
) -> CheckpointFacts:
    width, channels, patch, _ = tensors["x_embedder.proj.weight"].shape
    if heads is None and width not in HEADS:
        raise UserError(
            f"{path} has tokens of {width} channels, which no published network has ({', '.join(map(str, HEADS))}); its number "
            "of attention heads can't be told. Give heads=."
        )
    if heads is not None and (heads < 1 or width % heads):
        raise UserError(
            f"{path} has tokens of {width} channels, which can't be shared among {heads} heads. Give heads= a divisor of {width}."
        )
    rows = len(tensors[f"{OUTPUT}.bias"])
    if rows not in (channels * patch**2, 2 * channels * patch**2):
        raise UserError(
            f"{OUTPUT}.bias in {path} has {rows} values; patches of {patch}x{patch} in {channels} channels need "
            f"{channels * patch**2}, or twice as many with a learned variance."
        )
    return CheckpointFacts(
        source=source,
        shape=_latent(tensors.get("pos_embed"), channels, patch, shape, path),
        patch=patch,
        width=width,
        depth=len({name.split(".")[1] for name in tensors if name.startswith("blocks.")}),
        heads=heads or HEADS[width],
        mlp_ratio=len(tensors["blocks.0.mlp.fc1.weight"]) / width,
        num_classes=len(tensors[TABLE]) - 1 if TABLE in tensors else 0,
        learned_variance=rows == 2 * channels * patch**2,
        training_args=training_args,
    )


def _latent(
    positions: torch.Tensor | None, channels: int, patch: int, asked: tuple[int, int, int] | None, path: str
) -> tuple[int, int, int]:
    """One latent's shape: what was asked for, where the checkpoint agrees; otherwise the square that its positions make."""
    if asked is None:
        side = math.isqrt(positions.shape[1]) if positions is not None else 0
        if positions is None or side * side != positions.shape[1]:
            found = "no pos_embed" if positions is None else f"{positions.shape[1]} positions, which make no square"
            raise UserError(f"{path} holds {found}, so the size of its images can't be told. Give shape=(C, H, W).")
        return (channels, side * patch, side * patch)
    grid = (asked[1] // patch, asked[2] // patch)
    if (channels, grid[0] * patch, grid[1] * patch) != tuple(asked) or not _may_be_positions_of(grid, positions):
        counted = "" if positions is None else f", {positions.shape[1]} of them in an image"
        raise UserError(
            f"{path} is for images of {channels} channels in patches of {patch}x{patch}{counted}; {list(asked)} (channels, "
            "height, width) were asked for. Leave shape out, or choose a checkpoint of that size."
        )
    return asked


def _may_be_positions_of(grid: tuple[int, int], positions: torch.Tensor | None) -> bool:
    """False for a table of another length, and for the known table of a square where the grid is none."""
    if positions is None:
        return True
    tokens = positions.shape[-2]
    side = math.isqrt(tokens)
    if grid[0] * grid[1] != tokens or grid == (side, side) or side * side != tokens:
        return grid[0] * grid[1] == tokens
    return not are_sincos(positions, (side, side))


def _check_classes(facts: CheckpointFacts, asked: int | None, path: str) -> None:
    if asked is not None and asked != facts.num_classes:
        found = f"{facts.num_classes} classes and the null class" if facts.num_classes else "no classes"
        remedy = " Load it without num_classes, then change its table on purpose: resize_class_table(net, ...)."
        raise UserError(
            f"{path} has {found}; {asked} were asked for.{remedy if facts.num_classes else ' Load it with num_classes=0.'}"
        )


def _without_variance(
    tensors: Mapping[str, torch.Tensor], channels: int
) -> tuple[dict[str, torch.Tensor], list[Entry]]:
    """The same tensors with an output layer of the first half of the channels."""
    kept, dropped = dict(tensors), []
    for name in (f"{OUTPUT}.weight", f"{OUTPUT}.bias"):
        by_pixel = tensors[name].unflatten(0, (-1, 2 * channels))  # [p p, 2 C, ...]: channels vary fastest
        kept[name] = by_pixel[:, :channels].flatten(0, 1)
        dropped.append(Entry(name, tuple(kept[name].shape), "the variance's half"))
    return kept, dropped
