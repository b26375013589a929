"""What a denoiser's network says of its classes, and labels that it can take."""

from __future__ import annotations

import torch

from sadm.diffusion.denoised import Denoiser


def null_label_of(denoiser: Denoiser, otherwise: int | None = None) -> int | None:
    """The null class of a denoiser's network, None = it has no classes; `otherwise` where it has no ``null_label`` to say so."""
    found: int | None = getattr(getattr(denoiser, "net", None), "null_label", otherwise)
    return found


def check_labels(denoiser: Denoiser, labels: torch.Tensor | None) -> None:
    """Refuses labels that the network has no class for, where it says how many it has.

    Args:
        denoiser: whose network is asked.
        labels: [N], the null class among them or not; None = none.

    Raises:
        ValueError: labels out of range.
    """
    own = null_label_of(denoiser)
    if labels is None or own is None or not len(labels):
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > own:
        raise ValueError(f"labels must lie in 0 to {own - 1}, or be {own}, the null class; got {low} to {high}")
