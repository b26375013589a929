"""What a play needs of its tensors, checked before anything changes."""

from __future__ import annotations

import torch

from sadm.structure.errors import StructureError
from sadm.structure.players.discriminator import all_finite
from sadm.structure.processes import Part


def check_batch(
    x0: torch.Tensor, x0_hat: torch.Tensor, sigma: torch.Tensor, g_dsm: torch.Tensor, part: Part | None = None
) -> None:
    """Shapes, at least one pair, finite values; sigma may be infinite, where flow matching starts.

    Args:
        x0, x0_hat, sigma, g_dsm: as of `StructureGame.play`.
        part: which part of a batch they are; None = all of it.

    Raises:
        StructureError: something does not fit; the message says what.
    """
    if x0.shape != x0_hat.shape or sigma.shape != x0.shape[:1]:
        raise StructureError(
            "expected x0 and x0_hat of equal shape [B, C, H, W] and sigma [B]; got "
            f"{tuple(x0.shape)}, {tuple(x0_hat.shape)} and {tuple(sigma.shape)}"
        )
    images = part.whole if part is not None else len(x0)
    if images < 2:
        raise StructureError(
            f"structure is about pairs: the batch holds {images} image, at least 2 are needed. Use a larger batch"
        )
    if not len(x0):
        raise StructureError("this process holds no image of the batch, and others do: give each process at least one")
    tensors = {"x0": x0, "x0_hat": x0_hat, "g_dsm": g_dsm}
    if not all_finite(*tensors.values()):
        name = next(name for name, tensor in tensors.items() if not all_finite(tensor))
        raise StructureError(f"{name} holds NaN or infinite values; the game stops before they reach the weights")
    if not bool((sigma >= 0).all()):  # not so for NaN, too
        raise StructureError("sigma holds NaN or negative values; noise levels lie in [0, inf]")


def check_companions(
    target: torch.Tensor | None, index: torch.Tensor | None, images: int, part: Part | None = None
) -> None:
    """What may come with a batch, before rows of it are chosen.

    Args:
        target: see `StructureGame.play`.
        index: see `StructureGame.play`.
        images: of this process.
        part: which part of a batch they are; None = all of it.

    Raises:
        StructureError: a size that is not the batch's.
    """
    whole = part.whole if part is not None else images
    if target is not None and target.shape != (whole, whole):
        raise StructureError(
            f"expected target affinities [{whole}, {whole}], a row for each image of the batch; got {tuple(target.shape)}"
        )
    if index is not None and index.shape != (images,):
        raise StructureError(f"expected an index [{images}], one for each image, got {tuple(index.shape)}")


def check_weight(weight: torch.Tensor, sigma: torch.Tensor) -> None:
    """What a user's profile over noise levels gave.

    Raises:
        StructureError: not one weight for each image, or NaN, infinite or negative weights.
    """
    if not isinstance(weight, torch.Tensor) or weight.shape != sigma.shape:
        given = tuple(weight.shape) if isinstance(weight, torch.Tensor) else type(weight).__name__
        raise StructureError(f"noise_weight must give a weight for each of {len(sigma)} images, it gave {given}")
    if not bool(((weight >= 0) & weight.isfinite()).all()):
        raise StructureError(
            f"noise_weight must give finite weights of at least 0, it gave {weight.tolist()} at sigma {sigma.tolist()}"
        )
