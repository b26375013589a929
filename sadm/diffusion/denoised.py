"""The denoiser's contract, one noising-and-denoising step, and its loss."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from sadm.core.conditions import Cond
from sadm.core.recording import is_recorded


class Denoiser(Protocol):
    """What samplers, losses and training signals rely on, whatever parameterisation is inside."""

    def __call__(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
        """Estimates x0 [B, C, H, W] from ``x_t = x0 + sigma * noise`` [B, C, H, W] at noise levels sigma [B] > 0."""
        ...


@dataclasses.dataclass(frozen=True)
class Denoised:
    """One training step's denoising, as training signals see it.

    Attributes:
        x0: clean images [B, C, H, W] in [-1, 1] (or latents); augmented where `cond.augment` says so, and all else is then of
            the augmented image.
        x_t: noisy images [B, C, H, W].
        sigma: noise levels [B].
        noise: unit Gaussian [B, C, H, W].
        cond: conditioning, after label dropout.
        x0_hat: the denoiser's estimate of x0 [B, C, H, W]; attached to the network's graph when it comes from `denoise`,
            a detached leaf when it reaches a training signal.
        weight: the loss weight of each noise level [B].
        label: class indices [B] as the images have them, before label dropout; None where they have none.
        index: of each image in the training set [B], on the CPU; None where its pixels change from time to time.
        place: the same also where its pixels change; None outside of a training.
        taps: hidden activations that training signals asked for, by module name; detached.
    """

    x0: torch.Tensor
    x_t: torch.Tensor
    sigma: torch.Tensor
    noise: torch.Tensor
    cond: Cond
    x0_hat: torch.Tensor
    weight: torch.Tensor
    label: torch.Tensor | None = None
    index: torch.Tensor | None = None
    place: torch.Tensor | None = None
    taps: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)

    def __getitem__(self, rows: slice) -> Denoised:
        """The same for a part of the images."""
        parts: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        taps = {name: tap[rows] for name, tap in parts.pop("taps").items()}
        parts = {name: None if part is None else part[rows] for name, part in parts.items()}
        return Denoised(**parts, taps=taps)


def per_image(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Reshapes [B] to [B, 1, …, 1] so that it broadcasts over the images of `like`, never over their width."""
    if values.shape != like.shape[:1]:
        raise ValueError(f"expected one value for each of {like.shape[0]} images, got shape {tuple(values.shape)}")
    return values.reshape(-1, *[1] * (like.ndim - 1))


def check_levels(values: float | torch.Tensor, low: float, high: float, what: str, open_low: bool = True) -> None:
    """Refuses noise levels or times outside of a range; those on an accelerator are not looked at, it would have to wait.

    Args:
        values: one, or [B].
        low: the bound below.
        high: the bound above, within the range where it is finite.
        what: for the message.
        open_low: `low` itself is outside.

    Raises:
        ValueError: NaN, or a value outside.
    """
    if is_recorded() or (isinstance(values, torch.Tensor) and values.device.type != "cpu"):
        return
    found = torch.as_tensor(values)
    above = found > low if open_low else found >= low
    below = found < high if math.isinf(high) else found <= high
    if not bool((above & below).all()):
        given = found.tolist() if found.numel() <= 8 else f"{float(found.min()):.6g} to {float(found.max()):.6g}"
        edges = (
            f"{'above' if open_low else 'at least'} {low:g} and {'finite' if math.isinf(high) else f'at most {high:g}'}"
        )
        raise ValueError(f"{what} must be {edges}, got {given}")


def denoise(
    denoiser: Denoiser, x0: torch.Tensor, sigma: torch.Tensor, noise: torch.Tensor, cond: Cond, weight: torch.Tensor
) -> Denoised:
    """Adds noise to x0 and lets the denoiser estimate it.

    Args:
        denoiser: the contract above.
        x0: clean images [B, C, H, W].
        sigma: noise levels [B].
        noise: unit Gaussian [B, C, H, W].
        cond: conditioning.
        weight: loss weights [B].
    """
    x_t = x0 + per_image(sigma, x0) * noise  # [B, C, H, W]
    return Denoised(x0, x_t, sigma, noise, cond, denoiser(x_t, sigma, cond), weight)


def denoising_loss(x0: torch.Tensor, x0_hat: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted denoising loss: the mean over images of ``weight * mean_pixels (x0 - x0_hat)^2`` (Karras et al. 2022, eq. 2).

    The square is averaged over an image's elements, so that the loss does not grow with the resolution.

    Args:
        x0: clean images [B, C, H, W].
        x0_hat: estimates [B, C, H, W].
        weight: [B].

    Returns:
        A scalar, at least float32.

    Raises:
        ValueError: not one weight for each image.
    """
    error = x0_hat.to(torch.promote_types(x0_hat.dtype, torch.float32)) - x0
    squared = error.square().flatten(1).mean(1)  # [B]
    return (per_image(weight, squared) * squared).mean()
