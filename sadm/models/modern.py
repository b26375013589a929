"""Parts of transformers younger than the published DiT: normalised queries and keys, rotary positions, a gated MLP."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class HeadNorm(nn.RMSNorm):
    """``x / sqrt(mean(x^2) + 1e-6) * weight`` over the channels of each head: [..., T, d] -> [..., T, d].

    Of queries and keys it bounds the attention scores, which otherwise grow until training diverges (Dehghani et al. 2023, arXiv
    2302.05442, there with a layer norm). RMSNorm: Zhang & Sennrich 2019, arXiv 1910.07467. Computed in at least float32, which
    is also the dtype of the result.

    Args:
        width: channels d of a head; all heads share one scale.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dtype = torch.promote_types(x.dtype, torch.float32)
        return F.rms_norm(x.to(dtype), self.normalized_shape, self.weight.to(dtype), self.eps)


class Rope2d(nn.Module):
    """Rotary positions on two axes: turns queries or keys [..., T + registers, d] by angles that grow with row and column.

    In the first half of a head's channels, channels i and ``d / 4 + i`` are turned together by the angle ``row * 10000 ** -(i /
    (d / 4))``, in the second half likewise by the column's: the scores between patches depend on their offsets alone (Su et al.
    2021, arXiv 2104.09864, equation 34, for each axis). Register tokens are nowhere and are not turned.

    Args:
        width: channels d of a head, divisible by 4.
        grid: rows and columns of patches.
        registers: tokens behind the patches.

    Raises:
        ValueError: a width that four does not divide.
    """

    cos: torch.Tensor
    sin: torch.Tensor

    def __init__(self, width: int, grid: tuple[int, int], registers: int = 0) -> None:
        super().__init__()
        if width % 4:
            raise ValueError(
                "rope turns pairs of channels on two axes: the width of a head (width / heads) must be divisible by 4, got "
                f"{width}"
            )
        rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
        places = torch.stack([rows.flatten(), columns.flatten()], dim=1).double()  # [T, 2]
        omega = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))  # [d / 4]
        angles = F.pad(places[:, :, None] * omega, (0, 0, 0, 0, 0, registers))  # [T + registers, 2, d / 4]
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.unflatten(-1, (2, 2, -1)).unbind(-2)  # each [..., T + registers, 2, d / 4]
        turned = [first * self.cos - second * self.sin, first * self.sin + second * self.cos]
        return torch.stack(turned, dim=-2).flatten(-3)  # [..., T + registers, d], at least float32


class SwiGlu(nn.Module):
    """``w3 (silu(w1 x) * w2 x)`` (Shazeer 2020, arXiv 2002.05202): [B, T, D] -> [B, T, D].

    Args:
        width: channels of a token.
        plain: hidden width of the plain MLP that it stands for. Its own is two thirds of that, rounded up to a multiple of 8:
            three matrices with the parameters of two.
    """

    def __init__(self, width: int, plain: int) -> None:
        super().__init__()
        hidden = -(-2 * plain // 24) * 8
        self.w1 = nn.Linear(width, hidden)
        self.w2 = nn.Linear(width, hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.w3(F.silu(self.w1(tokens)) * self.w2(tokens))
