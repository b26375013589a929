"""Whether a network can be told what it is told: what it overlooked would be drawn, or not be drawn, in silence."""

from __future__ import annotations

import torch


def check_columns(what: str, given: torch.Tensor | None, known: int, option: str, otherwise: str = "") -> None:
    """Refuses numbers [B, k] of another k than the network knows.

    Args:
        what: they tell of.
        given: the numbers, or None.
        known: columns that the network knows.
        option: the network's argument for these.
        otherwise: what would happen to numbers that it can't be told of.

    Raises:
        ValueError: with what was given and expected.
    """
    if given is None or (given.ndim == 2 and given.shape[1] == known):
        return
    if known:
        raise ValueError(f"this network expects {what} [B, {known}] ({option}), got {list(given.shape)}")
    raise ValueError(f"this network can't be told of {what} ({option}=0){otherwise}; got {list(given.shape)}")


def check_picture(given: torch.Tensor | None, channels: int, x: torch.Tensor) -> None:
    """Refuses an image to condition on that is not [B, channels, H, W] beside x [B, C, H, W].

    Raises:
        ValueError: with what was given and expected.
    """
    # Not len(x): that is a plain number, and an exported network would take batches of that size alone.
    expected = (x.shape[0], channels, *x.shape[2:])
    if given is None or (channels and given.shape == expected):
        return
    if channels:
        raise ValueError(
            f"this network expects an image to condition on of shape {list(expected)}, got {list(given.shape)}"
        )
    raise ValueError(f"this network can't be told of an image (picture_channels=0); got {list(given.shape)}")
