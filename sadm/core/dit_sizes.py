"""The published sizes of diffusion transformers, by name (Peebles & Xie 2023, arXiv 2212.09748, table 1). Imports no torch."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

DiTName = Literal[
    "DiT-S/2",
    "DiT-S/4",
    "DiT-S/8",
    "DiT-B/2",
    "DiT-B/4",
    "DiT-B/8",
    "DiT-L/2",
    "DiT-L/4",
    "DiT-L/8",
    "DiT-XL/2",
    "DiT-XL/4",
    "DiT-XL/8",
]
"""A size, and the side of a patch in pixels."""

DIT_NAMES: tuple[DiTName, ...] = get_args(DiTName)


@dataclasses.dataclass(frozen=True)
class DiTSize:
    """Width in channels, number of blocks, attention heads."""

    width: int
    depth: int
    heads: int


DIT_SIZES = {
    "S": DiTSize(384, 12, 6),
    "B": DiTSize(768, 12, 12),
    "L": DiTSize(1024, 24, 16),
    "XL": DiTSize(1152, 28, 16),
}


def sizes_of(name: str) -> dict[str, int]:
    """What a name stands for: ``patch``, ``width``, ``depth`` and ``heads``.

    Args:
        name: one of `DIT_NAMES`.
    """
    size, patch = name.removeprefix("DiT-").split("/")
    return {"patch": int(patch), **dataclasses.asdict(DIT_SIZES[size])}
