"""Where on the noise scale the game is played: which images of a batch take part, with what weight, and how strongly.

Noise levels reach from 0 to infinity, both included: flow matching starts at sigma = inf, where no signal is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch

from sadm.structure.errors import StructureError

Choice = Callable[[torch.Tensor, float], torch.Tensor]
"""Noise levels [B] in [0, inf] and a share in (0, 1] to the indices of the images that take part: see `noisiest`."""


def noisiest(sigma: torch.Tensor, fraction: float) -> torch.Tensor:
    """Indices of the noisiest `fraction` of a batch, at least 2 of them, in ascending order.

    Args:
        sigma: noise levels [B], in [0, inf].
        fraction: in (0, 1]; 1 = all.

    Returns:
        int64 [m], m = max(2, ceil(fraction * B)), never more than B.
    """
    return sigma.topk(_count(sigma, fraction)).indices.sort().values


def cleanest(sigma: torch.Tensor, fraction: float) -> torch.Tensor:
    """As `noisiest`, the least noisy ones."""
    return sigma.topk(_count(sigma, fraction), largest=False).indices.sort().values


def middle(sigma: torch.Tensor, fraction: float) -> torch.Tensor:
    """As `noisiest`, those about the median noise level."""
    count = _count(sigma, fraction)
    first = (len(sigma) - count) // 2
    return sigma.argsort(stable=True)[first : first + count].sort().values


def evenly(sigma: torch.Tensor, fraction: float) -> torch.Tensor:
    """As `noisiest`, evenly spread over the order of noise levels: as a random choice is on average."""
    count = _count(sigma, fraction)
    ranks = ((torch.arange(count, device=sigma.device) + 0.5) * len(sigma) / count).long()
    return sigma.argsort(stable=True)[ranks].sort().values


CHOICES: dict[str, Choice] = {"noisiest": noisiest, "cleanest": cleanest, "middle": middle, "evenly": evenly}
"""By name, which images of a batch take part."""


def resolve_choice(choice: str | Choice) -> Choice:
    """The function of a name in `CHOICES`; a callable with a check of what it gives.

    Raises:
        StructureError: an unknown name; from the function that is returned, something else than at least 2 places in ascending
            order.
    """
    if not isinstance(choice, str):
        return choice if choice in CHOICES.values() else partial(_checked, choice)
    if choice not in CHOICES:
        raise StructureError(
            f"unknown choice of images {choice!r}; expected one of {', '.join(CHOICES)}, or a callable"
        )
    return CHOICES[choice]


def _checked(choice: Choice, sigma: torch.Tensor, fraction: float) -> torch.Tensor:
    places = choice(sigma, fraction)
    whole = isinstance(places, torch.Tensor) and places.dtype == torch.int64 and places.ndim == 1 and len(places) >= 2
    if not whole or not bool((places.diff() > 0).all()) or not 0 <= int(places[0]) <= int(places[-1]) < len(sigma):
        raise StructureError(
            f"choose must give int64 places of at least 2 of {len(sigma)} images in ascending order, it gave {places!r}"
        )
    return places


def _count(sigma: torch.Tensor, fraction: float) -> int:
    # The tolerance keeps 1/3 of 12 at 4, whatever way the fraction was rounded.
    return min(len(sigma), max(2, math.ceil(fraction * len(sigma) - 1e-9)))


def wiener_weight(sigma: torch.Tensor, scale: float = 0.5) -> torch.Tensor:
    """``1 / (1 + (sigma / scale)^2)`` [B]: the share of signal in a Wiener filter for data of standard deviation `scale`.

    At high noise x0_hat is a blurred posterior mean and no honest match exists, so such pairs count less in the gap. How hard an
    image is pulled is the balance's matter: held to its ratio, an image of small weight is pulled as hard as others, towards
    partners of larger weight; see `falling` for a pull that is weaker itself. 1 at sigma = 0, 0 at sigma = inf; at least
    float32.

    Args:
        sigma: noise levels [B], in [0, inf].
        scale: where the weight is one half, > 0.

    Raises:
        StructureError: a scale that is not positive.
    """
    if not scale > 0:
        raise StructureError(f"scale must be positive, got {scale}")
    levels = sigma.to(torch.promote_types(sigma.dtype, torch.float32))  # half precision would overflow at 256
    return 1 / (1 + (levels / scale).square())


def uniform_weight(sigma: torch.Tensor) -> torch.Tensor:
    """1 for every image [B], at least float32."""
    return torch.ones_like(sigma, dtype=torch.promote_types(sigma.dtype, torch.float32))


def falling(ratio: float, scale: float = 0.5) -> Callable[[torch.Tensor], torch.Tensor]:
    """A profile of ratios for `StructureGame`: ``ratio * wiener_weight(sigma, scale)``, so that noisy images are pulled less."""
    return lambda sigma: ratio * wiener_weight(sigma, scale)


def growing(ratio: float, scale: float = 0.5) -> Callable[[torch.Tensor], torch.Tensor]:
    """What `falling` leaves of the ratio: 0 for images without noise."""
    return lambda sigma: ratio * (1 - wiener_weight(sigma, scale))
