"""A trained network's weights for images of another domain: other classes, channels, sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from sadm.models.adapters import UNetAdapter
from sadm.models.dit import DiT
from sadm.models.positions import are_sincos, sincos_positions
from sadm.models.weights.class_table import SPREAD, TABLE, resized_rows, rows_report
from sadm.models.weights.report import Entry, LoadReport

POSITIONS = "pos_embed"


@dataclasses.dataclass(frozen=True)
class _Names:
    """Where a kind of network keeps what depends on its images.

    Attributes:
        table: its classes [K + 1, D].
        time_bias: what is added to the embedding of each noise level [D].
        first: the layer that sees the image [D, C, p, p]; of a UNet [D, p p C, 3, 3].
        last: the layer that gives the output, [p p G C, …] (G = 2 with a learned variance, else 1).
        fresh: factor on a new table of classes as the network is built with, so that its spread is small.
        pixels: of a patch, p p.
        folded: whether `first` has these as channels, not as places of its kernel.
    """

    table: str
    time_bias: str
    first: str
    last: str
    fresh: float = 1.0
    pixels: int = 1
    folded: bool = False

    @property
    def at_the_ends(self) -> tuple[str, ...]:
        """The tensors that have an axis of channels."""
        return f"{self.first}.weight", f"{self.last}.weight", f"{self.last}.bias"


_DIT = _Names(TABLE, "t_embedder.mlp.2.bias", "x_embedder.proj", "final_layer.linear")
_UNET = _Names(
    "unet.class_embedding.weight",
    "unet.time_embedding.linear_2.bias",
    "unet.conv_in",
    "unet.conv_out",
    SPREAD,
    folded=True,
)


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


def transfer_weights(
    source: DiT | UNetAdapter, target: DiT | UNetAdapter, origins: Sequence[int | None] = (), seed: int = 0
) -> Transfer:
    """What a trained network gives to one of the same kind and sizes for other images.

    - Classes: see `resize_class_table`. A network without classes gets a table whose null class adds nothing, so that without a
      label it computes what it did; one that loses its classes computes from then on what it did for the null class.
    - Channels: each new input channel has the mean of the old ones' weights, scaled so that an image with equal channels gives
      the same tokens; each new output channel is the mean of the old ones.
    - Size: sine-cosine positions are computed at the places of the new patches in the old image; learned ones are interpolated
      bicubically. Rotary ones keep their step from patch to patch. A UNet has no positions.

    Args:
        source: the trained network; left as it is.
        target: freshly initialised; its shape and classes say what is wanted. Left as it is.
        origins: for each class of `target`, the old one that it starts from; None = new.
        seed: of what new classes start from.
    """
    names = _names_of(source)
    weights, fresh = ({key: value.clone() for key, value in net.state_dict().items()} for net in (source, target))
    parts = [_classes(weights, fresh, names, list(origins), seed)]
    changed: tuple[str, ...] = ()
    if any(weights[name].shape != fresh[name].shape for name in names.at_the_ends):
        parts.append(_channels(weights, fresh, names))
        changed = (names.first, names.last)
    if isinstance(source, DiT) and isinstance(target, DiT):
        parts.append(_positions(weights, source, target))
    return Transfer(weights, _whole(parts, weights), changed)


def _names_of(net: DiT | UNetAdapter) -> _Names:
    if isinstance(net, UNetAdapter):
        return dataclasses.replace(_UNET, pixels=net.patch**2)
    first = _DIT.first if net.x_embedder.reduce is None else "x_embedder.reduce"
    return dataclasses.replace(_DIT, first=first, pixels=net.patch**2)


def positions_in(positions: torch.Tensor, old: tuple[int, int], new: tuple[int, int]) -> torch.Tensor:
    """Positions [1, T, D] for another grid of patches over the same image.

    Args:
        positions: of the old grid [1, T, D].
        old: its rows and columns.
        new: rows and columns of the new grid.
    """
    width = positions.shape[-1]
    if are_sincos(positions, old):
        return sincos_positions(width, new, over=old).to(positions).unsqueeze(0)
    as_map = positions.reshape(1, *old, width).permute(0, 3, 1, 2)  # [1, D, rows, columns]
    resized = F.interpolate(as_map, new, mode="bicubic", antialias=True)
    return resized.permute(0, 2, 3, 1).reshape(1, -1, width)


def _classes(
    weights: dict[str, torch.Tensor],
    fresh: dict[str, torch.Tensor],
    names: _Names,
    origins: list[int | None],
    seed: int,
) -> LoadReport:
    """Gives the weights the classes of the fresh ones, in place; says what becomes of them."""
    there, here, table = weights.get(names.table), fresh.get(names.table), names.table  # [K + 1, D]
    if there is not None and here is not None:
        count, width = len(there) - 1, there.shape[1]
        if origins == list(range(count)):
            return LoadReport()
        weights[table] = resized_rows(there, origins, seed)
        return rows_report(table, origins, count, width)
    if there is not None:
        weights[names.time_bias] = weights[names.time_bias] + weights.pop(table)[-1]
        kept = Entry(table, (1, there.shape[1]), f"the null class, added to {names.time_bias}")
        return LoadReport((kept,), (), (Entry(table, (len(there) - 1, there.shape[1]), "the old classes"),))
    if here is not None:
        weights[table] = names.fresh * here
        weights[table][-1] = 0
        note = "new classes; the null class adds nothing"
        return LoadReport((), (Entry(table, (len(here) - 1, here.shape[1]), note),))
    return LoadReport()


def _channels(weights: dict[str, torch.Tensor], fresh: dict[str, torch.Tensor], names: _Names) -> LoadReport:
    """Gives the first and the last layer the channels of the fresh ones, in place."""
    first, *last = names.at_the_ends
    inside = names.pixels if names.folded else 1
    old, new = (tensors[first].shape[1] // inside for tensors in (weights, fresh))
    if new != old:
        by_channel = weights[first].unflatten(1, (inside, old)).mean(2, keepdim=True)  # [D, p p or 1, 1, …]
        weights[first] = by_channel.expand(-1, -1, new, -1, -1).flatten(1, 2) * (old / new)
    for name in last:
        groups = [len(tensors[name]) // (names.pixels * own) for tensors, own in ((weights, old), (fresh, new))]
        by_channel = weights[name].unflatten(0, (names.pixels, groups[0], old))  # [p p, 1 or 2, C, …]
        by_channel = by_channel[:, : groups[1]]
        if new != old:
            by_channel = by_channel.mean(2, keepdim=True).expand(-1, -1, new, *by_channel.shape[3:])
        weights[name] = by_channel.flatten(0, 2).clone()
    note = f"mean over {old} channels, for {new}"
    return LoadReport(loaded=tuple(Entry(name, tuple(weights[name].shape), note) for name in names.at_the_ends))


def _positions(weights: dict[str, torch.Tensor], source: DiT, target: DiT) -> LoadReport:
    """Gives the weights the positions of other patches, in place."""
    if source.grid == target.grid or source.pos_embed is None:
        return LoadReport()
    weights[POSITIONS] = positions_in(source.pos_embed, source.grid, target.grid)
    note = f"places of {_by(target.grid)} patches among the old {_by(source.grid)}"
    return LoadReport(loaded=(Entry(POSITIONS, tuple(weights[POSITIONS].shape), note),))


def _whole(parts: Sequence[LoadReport], weights: dict[str, torch.Tensor]) -> LoadReport:
    """The report on all tensors, from those on what was changed."""
    loaded = [entry for part in parts for entry in part.loaded]
    fresh = [entry for part in parts for entry in part.reinitialised]
    said = {entry.name for entry in (*loaded, *fresh)}
    plain = [Entry(name, tuple(tensor.shape)) for name, tensor in weights.items() if name not in said]
    return LoadReport((*plain, *loaded), tuple(fresh), tuple(entry for part in parts for entry in part.ignored))


def _by(grid: tuple[int, int]) -> str:
    return f"{grid[0]}x{grid[1]}"
