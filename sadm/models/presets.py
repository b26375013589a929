"""The published sizes of diffusion transformers, by name (Peebles & Xie 2023, arXiv 2212.09748, table 1)."""

from __future__ import annotations

import dataclasses
from typing import Any

from sadm.core.errors import UserError
from sadm.models.dit import DiT

PATCHES = (2, 4, 8)


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

DIT_NAMES = tuple(f"DiT-{size}/{patch}" for size in DIT_SIZES for patch in PATCHES)


def dit_by_name(name: str, shape: tuple[int, int, int], num_classes: int = 0, **options: Any) -> DiT:
    """A freshly initialised DiT of a published size.

    Args:
        name: one of `DIT_NAMES`, such as ``DiT-XL/2``: the size, and the side of a patch in pixels.
        shape: one image or latent, (C, H, W).
        num_classes: classes without the null class; 0 = unconditional.
        options: further arguments of `DiT`.

    Raises:
        UserError: an unknown name, or an image that its patches don't fit.
    """
    if name not in DIT_NAMES:
        raise UserError(f"unknown network {name!r}; expected one of {', '.join(DIT_NAMES)}.")
    size, patch = name.removeprefix("DiT-").split("/")
    sizes = DIT_SIZES[size]
    if shape[1] % int(patch) or shape[2] % int(patch):
        raise UserError(
            f"{name} cuts images into patches of {patch}x{patch}, which {shape[1]}x{shape[2]} can't be cut into. "
            "Choose a smaller patch or another size of images."
        )
    return DiT(shape, int(patch), sizes.width, sizes.depth, sizes.heads, num_classes=num_classes, **options)
