"""Where on the noise scale the game is played: which images of a batch take part, and with what weight.

Noise levels reach from 0 to infinity, both included: flow matching starts at sigma = inf, where no signal is left.
"""

from __future__ import annotations

import math

import torch


def noisiest(sigma: torch.Tensor, fraction: float) -> torch.Tensor:
    """Indices of the noisiest `fraction` of a batch, at least 2 of them, in ascending order.

    Args:
        sigma: noise levels [B], in [0, inf].
        fraction: in (0, 1]; 1 = all.

    Returns:
        int64 [m], m = max(2, ceil(fraction * B)), never more than B.
    """
    batch = len(sigma)
    # The tolerance keeps 1/3 of 12 at 4, whatever way the fraction was rounded.
    count = min(batch, max(2, math.ceil(fraction * batch - 1e-9)))
    return sigma.topk(count).indices.sort().values


def wiener_weight(sigma: torch.Tensor, scale: float = 0.5) -> torch.Tensor:
    """``1 / (1 + (sigma / scale)^2)`` [B]: the share of signal in a Wiener filter for data of standard deviation `scale`.

    At high noise x0_hat is a blurred posterior mean and no honest match exists, so such pairs count less. 1 at sigma = 0, 0 at
    sigma = inf; at least float32.

    Args:
        sigma: noise levels [B], in [0, inf].
        scale: where the weight is one half, > 0.
    """
    levels = sigma.to(torch.promote_types(sigma.dtype, torch.float32))  # half precision would overflow at 256
    return 1 / (1 + (levels / scale).square())


def uniform_weight(sigma: torch.Tensor) -> torch.Tensor:
    """1 for every image [B], at least float32."""
    return torch.ones_like(sigma, dtype=torch.promote_types(sigma.dtype, torch.float32))
