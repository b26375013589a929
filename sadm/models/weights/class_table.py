"""Changing the classes of a network, on purpose."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.models.dit import DiT, LabelEmbedder
from sadm.models.weights.report import Entry, LoadReport

TABLE = "y_embedder.embedding_table.weight"
SPREAD = 0.02  # of a new table, where one kept class alone has none


def resize_class_table(net: DiT, classes: int | Sequence[int | None], seed: int = 0) -> LoadReport:
    """Gives the network other classes, in place; the null class keeps its row, at the new end of the table.

    A class without a counterpart starts at the mean of the old classes plus normal draws with their spread, channel by channel:
    as a typical class, which a short training turns into its own.

    Args:
        net: a network with classes. Build the optimiser afterwards: the table is a new parameter.
        classes: the new number of classes (class i stays class i, as far as there are as many), or for each new class its old
            index, None = without a counterpart.
        seed: of the draws.

    Returns:
        Which rows were kept (loaded), drawn (re-initialised) and dropped (ignored).

    Raises:
        UserError: the network has no classes, there are to be none, or an index is no old class.
    """
    if net.y_embedder is None:
        raise UserError("this network has no classes, so there is no table to resize. Build one with num_classes=.")
    old = net.y_embedder.embedding_table.weight.detach()  # [K + 1, D]
    count = len(old) - 1
    if isinstance(classes, int):
        origins = [index if index < count else None for index in range(classes)]
    else:
        origins = list(classes)
    if not origins:
        raise UserError("a network with classes needs at least 1; none were asked for.")
    foreign = [index for index in origins if index is not None and not 0 <= index < count]
    if foreign:
        raise UserError(
            f"{foreign[0]} is no class of this network; expected 0 to {count - 1}, or None for a new class."
        )
    table = LabelEmbedder(len(origins), old.shape[1]).to(old)
    table.requires_grad_(net.y_embedder.embedding_table.weight.requires_grad).train(net.y_embedder.training)
    table.embedding_table.weight.detach().copy_(resized_rows(old, origins, seed))
    net.y_embedder, net.null_label = table, len(origins)
    return rows_report(TABLE, origins, count, old.shape[1])


def resized_rows(old: torch.Tensor, origins: Sequence[int | None], seed: int) -> torch.Tensor:
    """The rows of other classes, as `resize_class_table` makes them.

    Args:
        old: a table [K + 1, D], the null class last.
        origins: for each new class its old index, None = without a counterpart.
        seed: of the draws.
    """
    count = len(old) - 1
    weight = old.new_empty(len(origins) + 1, old.shape[1])
    spread = old[:count].float().std(0) if count > 1 else torch.full_like(old[0], SPREAD, dtype=torch.float32)  # [D]
    noise = torch.randn(len(origins), old.shape[1], generator=generator(seed, "class table"))  # [K', D]
    weight[:-1] = (old[:count].float().mean(0) + spread * noise.to(old.device)).to(old.dtype)
    for row, origin in enumerate(origins):
        if origin is not None:
            weight[row] = old[origin]
    weight[-1] = old[-1]
    return weight


def rows_report(name: str, origins: Sequence[int | None], count: int, width: int) -> LoadReport:
    """What became of the rows of a table of `count` old classes."""
    kept = [row for row, origin in enumerate(origins) if origin is not None]
    drawn = [row for row, origin in enumerate(origins) if origin is None]
    dropped = [row for row in range(count) if row not in set(origins)]
    notes = [
        (f"rows {_ranges(kept)}, and the null class" if kept else "the null class", len(kept) + 1),
        (f"rows {_ranges(drawn)}, drawn around the mean of the old classes", len(drawn)),
        (f"old rows {_ranges(dropped)}", len(dropped)),
    ]
    return LoadReport(*((Entry(name, (rows, width), note),) if rows else () for note, rows in notes))


def _ranges(rows: Sequence[int]) -> str:
    """``0-3, 7``: ascending numbers, neighbours joined."""
    parts: list[list[int]] = []
    for row in rows:
        if parts and row == parts[-1][-1] + 1:
            parts[-1][1:] = [row]
        else:
            parts.append([row])
    return ", ".join("-".join(map(str, part)) for part in parts)
