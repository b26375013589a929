"""What a denoiser's network says of its classes, and labels that it can take."""

from __future__ import annotations

import torch

from sadm.diffusion.denoised import Denoiser

_UNKNOWN = -1


def null_label_of(denoiser: Denoiser) -> int | None:
    """The null class of a denoiser's network, None = it has no classes.

    Raises:
        LookupError: the network does not say (it has no ``null_label``).
    """
    found = getattr(getattr(denoiser, "net", None), "null_label", _UNKNOWN)
    if found == _UNKNOWN:
        raise LookupError("this denoiser's network has no attribute null_label")
    return None if found is None else int(found)


def check_null_label(denoiser: Denoiser, null_label: int) -> None:
    """Refuses a null class that is not the network's own, where that is known.

    Raises:
        ValueError: a network without classes, or another null class.
    """
    try:
        own = null_label_of(denoiser)
    except LookupError:
        return
    if own is None:
        raise ValueError("guidance needs a network with classes; this one has no null class. Use guidance_scale 1")
    if own != null_label:
        raise ValueError(f"null_label {null_label} is not this network's null class, which is {own}")


def check_labels(denoiser: Denoiser, labels: torch.Tensor | None) -> None:
    """Refuses labels that the network has no class for, where it says how many it has.

    Args:
        denoiser: whose network is asked.
        labels: [N], the null class among them or not; None = none.

    Raises:
        ValueError: labels out of range.
    """
    try:
        own = null_label_of(denoiser)
    except LookupError:
        return
    if labels is None or own is None or not len(labels):
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > own:
        raise ValueError(f"labels must lie in 0 to {own - 1}, or be {own}, the null class; got {low} to {high}")
