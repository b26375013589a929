"""A trained network's weights for images of another domain: other classes, channels, sizes."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from sadm.models.dit import DiT, sincos_positions
from sadm.models.weights.class_table import TABLE, resize_class_table
from sadm.models.weights.report import Entry, LoadReport

INPUT, OUTPUT, TIME_BIAS, POSITIONS = "x_embedder.proj", "final_layer.linear", "t_embedder.mlp.2.bias", "pos_embed"


@dataclasses.dataclass(frozen=True)
class Transfer:
    """Weights for a network of another domain.

    Attributes:
        weights: by the names of the new network.
        report: what became of each tensor.
        changed: names of the modules whose weights don't fit the new images yet, and have to learn whatever else does.
    """

    weights: dict[str, torch.Tensor]
    report: LoadReport
    changed: tuple[str, ...]


def transfer_weights(source: DiT, target: DiT, origins: Sequence[int | None] = (), seed: int = 0) -> Transfer:
    """What a trained network gives to one of the same width and depth for other images.

    - Classes: see `resize_class_table`. A network without classes gets a table whose null class adds nothing, so that without a
      label it computes what it did; one that loses its classes computes from then on what it did for the null class.
    - Channels: each new input channel has the mean of the old ones' weights, scaled so that an image with equal channels gives
      the same tokens; each new output channel is the mean of the old ones.
    - Size: sine-cosine positions are computed at the places of the new patches in the old image; learned ones are interpolated
      bicubically. Rotary ones keep their step from patch to patch.

    Args:
        source: the trained network; left as it is.
        target: freshly initialised; its shape and classes say what is wanted. Left as it is.
        origins: for each class of `target`, the old one that it starts from; None = new.
        seed: of what new classes start from.
    """
    source = copy.deepcopy(source)
    parts = [_classes(source, target, list(origins), seed)]
    weights = source.state_dict()
    if source.y_embedder is not None and target.y_embedder is None:
        weights[TIME_BIAS] = weights[TIME_BIAS] + weights.pop(TABLE)[-1]
    elif source.y_embedder is None and target.y_embedder is not None:
        table = target.y_embedder.embedding_table.weight.detach().clone()  # [K + 1, D]
        table[-1] = 0
        weights[TABLE] = table
    changed: tuple[str, ...] = ()
    if source.shape[0] != target.shape[0] or source.out_channels != target.out_channels:
        parts.append(_channels(weights, source, target))
        changed = (INPUT, OUTPUT)
    if source.grid != target.grid and source.pos_embed is not None:
        weights[POSITIONS] = positions_in(source.pos_embed, source.grid, target.grid)
        note = f"places of {_by(target.grid)} patches among the old {_by(source.grid)}"
        parts.append(LoadReport(loaded=(Entry(POSITIONS, tuple(weights[POSITIONS].shape), note),)))
    return Transfer(weights, _whole(parts, weights), changed)


def positions_in(positions: torch.Tensor, old: tuple[int, int], new: tuple[int, int]) -> torch.Tensor:
    """Positions [1, T, D] for another grid of patches over the same image.

    Args:
        positions: of the old grid [1, T, D].
        old: its rows and columns.
        new: rows and columns of the new grid.
    """
    width = positions.shape[-1]
    if torch.allclose(positions[0], sincos_positions(width, old).to(positions), atol=1e-4):
        return sincos_positions(width, new, over=old).to(positions).unsqueeze(0)
    as_map = positions.reshape(1, *old, width).permute(0, 3, 1, 2)  # [1, D, rows, columns]
    resized = F.interpolate(as_map, new, mode="bicubic", antialias=True)
    return resized.permute(0, 2, 3, 1).reshape(1, -1, width)


def _classes(source: DiT, target: DiT, origins: list[int | None], seed: int) -> LoadReport:
    """Gives `source` the classes of `target` where both have some; says what becomes of them."""
    width, there, here = source.x_embedder.proj.out_channels, source.y_embedder, target.y_embedder
    if there is not None and here is not None:
        if origins == list(range(there.num_classes)):
            return LoadReport()
        return resize_class_table(source, origins, seed)
    if there is not None:
        kept = Entry(TABLE, (1, width), f"the null class, added to {TIME_BIAS}")
        return LoadReport((kept,), (), (Entry(TABLE, (there.num_classes, width), "the old classes"),))
    if here is not None:
        return LoadReport((), (Entry(TABLE, (here.num_classes, width), "new classes; the null class adds nothing"),))
    return LoadReport()


def _channels(weights: dict[str, torch.Tensor], source: DiT, target: DiT) -> LoadReport:
    """Gives the first and the last layer other channels, in place."""
    old, new, patch = source.shape[0], target.shape[0], source.patch
    first = weights[f"{INPUT}.weight"]  # [D, C, p, p]
    if new != old:
        weights[f"{INPUT}.weight"] = first.mean(1, keepdim=True).expand(-1, new, -1, -1) * (old / new)
    for name in (f"{OUTPUT}.weight", f"{OUTPUT}.bias"):
        by_channel = weights[name].unflatten(0, (patch * patch, source.out_channels // old, old))  # [p p, 1 or 2, C, …]
        groups = target.out_channels // new  # with a learned variance, 2
        by_channel = by_channel[:, :groups]
        if new != old:
            by_channel = by_channel.mean(2, keepdim=True).expand(-1, -1, new, *by_channel.shape[3:])
        weights[name] = by_channel.flatten(0, 2).clone()
    note = f"mean over {old} channels, for {new}"
    names = (f"{INPUT}.weight", f"{OUTPUT}.weight", f"{OUTPUT}.bias")
    return LoadReport(loaded=tuple(Entry(name, tuple(weights[name].shape), note) for name in names))


def _whole(parts: Sequence[LoadReport], weights: dict[str, torch.Tensor]) -> LoadReport:
    """The report on all tensors, from those on what was changed."""
    loaded = [entry for part in parts for entry in part.loaded]
    fresh = [entry for part in parts for entry in part.reinitialised]
    said = {entry.name for entry in (*loaded, *fresh)}
    plain = [Entry(name, tuple(tensor.shape)) for name, tensor in weights.items() if name not in said]
    return LoadReport((*plain, *loaded), tuple(fresh), tuple(entry for part in parts for entry in part.ignored))


def _by(grid: tuple[int, int]) -> str:
    return f"{grid[0]}x{grid[1]}"
