"""Diffusion transformers of the published sizes, by name."""

from __future__ import annotations

from typing import Any

from sadm.core.dit_sizes import DIT_NAMES, sizes_of
from sadm.core.errors import UserError
from sadm.models.dit import DiT


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
    sizes: dict[str, Any] = sizes_of(name)
    patch = sizes["patch"]
    if shape[1] % patch or shape[2] % patch:
        raise UserError(
            f"{name} cuts images into patches of {patch}x{patch}, which {shape[1]}x{shape[2]} can't be cut into. "
            "Choose a smaller patch or another size of images."
        )
    return DiT(shape, **sizes, num_classes=num_classes, **options)
