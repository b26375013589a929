"""Structure that is known beforehand: affinities from labels or attributes, in place of the real images' relation."""

from __future__ import annotations

import torch

from sadm.structure.errors import StructureError


def label_affinity(labels: torch.Tensor) -> torch.Tensor:
    """1 for images of the same class, 0 for others.

    Args:
        labels: class indices [B], integers.

    Returns:
        float32 [B, B].

    Raises:
        StructureError: labels of another shape, or floating-point ones.
    """
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise StructureError(
            f"expected integer labels [B], got {labels.dtype} {tuple(labels.shape)}. For measured values use "
            "attribute_affinity"
        )
    return (labels[:, None] == labels[None, :]).float()  # [B, B]


def attribute_affinity(values: torch.Tensor, bandwidth: float) -> torch.Tensor:
    """``exp(-|a_i - a_j|^2 / (2 bandwidth^2))``: images alike in a measured property belong together.

    Args:
        values: one attribute [B] or several [B, k]; divide attributes of different units by their scales first.
        bandwidth: the difference at which an affinity has fallen to exp(-1/2), > 0.

    Returns:
        [B, B] in [0, 1], at least float32, 1 on the diagonal.

    Raises:
        StructureError: values of another shape, NaN or infinite ones, or a bandwidth that is not positive.
    """
    if values.ndim not in (1, 2) or values.is_complex():
        raise StructureError(f"expected attributes [B] or [B, k], got {values.dtype} {tuple(values.shape)}")
    if not 0 < bandwidth < float("inf"):
        raise StructureError(f"bandwidth must be positive and finite, got {bandwidth}")
    values = values.reshape(len(values), -1).to(torch.promote_types(values.dtype, torch.float32))  # [B, k]
    if not bool(torch.isfinite(values).all()):
        raise StructureError("attributes hold NaN or infinite values; fill or drop the images that lack one")
    scaled = values / bandwidth
    # Direct differences keep the digits of large values that lie close together, such as years.
    distance = torch.cdist(scaled, scaled, compute_mode="donot_use_mm_for_euclid_dist")  # [B, B]
    return (-distance.square() / 2).exp()
