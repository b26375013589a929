"""Choosing kinds, such as classes or shapes, as often as training images have them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sadm.core.seeds import generator


def labels_at_frequencies(counts: torch.Tensor, total: int, seed: int) -> torch.Tensor:
    """`total` labels in the proportions of `counts` [K] (largest remainders), shuffled; int64 [total]."""
    exact = counts.double() * total / counts.sum()
    share = exact.floor().long()
    missing = total - int(share.sum())
    share[(exact - share).argsort(descending=True, stable=True)[:missing]] += 1
    labels = torch.arange(len(counts)).repeat_interleave(share)
    return labels[torch.randperm(total, generator=generator(seed, "labels"))]


def by_size(sizes: torch.Tensor, rows: Sequence[int]) -> list[list[int]]:
    """Those of `rows` that have one height and width in `sizes` [N, 2] together, the smallest first."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for row in rows:
        groups.setdefault(tuple(sizes[row].tolist()), []).append(row)
    return [groups[size] for size in sorted(groups)]


def drawn_evenly(counts: torch.Tensor, total: int, draws: torch.Generator) -> torch.Tensor:
    """`total` kinds, each about as often as `counts` [K] says, shuffled; int64 [total].

    Systematic sampling: a kind's number is its share of `total`, rounded up or down by chance, so that on average even the rarest
    kind of a small class keeps its share.
    """
    ends = counts.double().cumsum(0) / counts.sum()  # [K]
    points = (torch.arange(total) + torch.rand((), generator=draws, dtype=torch.float64)) / total
    kinds = torch.searchsorted(ends, points, right=True).clamp(max=int(counts.nonzero().max()))
    return kinds[torch.randperm(total, generator=draws)]
