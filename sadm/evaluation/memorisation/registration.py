"""How much two images differ once one is shifted onto the other and re-coloured."""

from __future__ import annotations

import itertools

import torch

REACH = 0.1  # of the longer side: the farthest shift that is looked for, in each direction
_TRIED = 4  # shifts of each pair that are compared exactly
_LEAST_CONTRAST = 1 / 127.5  # standard deviation of pixels in [-1, 1], one level of 256; less shows nothing to compare


def overlap(first: torch.Tensor, second: torch.Tensor, down: int, right: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What two stacks of images [..., H, W] both show when `second` is moved onto `first` by a shift.

    Returns:
        Windows of equal size: first[y, x] meets second[y - down, x - right].
    """
    height, width = first.shape[-2:]
    ours = (..., slice(max(down, 0), height + min(down, 0)), slice(max(right, 0), width + min(right, 0)))
    theirs = (..., slice(max(-down, 0), height + min(-down, 0)), slice(max(-right, 0), width + min(-right, 0)))
    return first[ours], second[theirs]


def unexplained(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The share of the first image's contrast that the second one, re-coloured at best, leaves unexplained.

    Each channel of the second may get a brightness and a contrast (not below 0) of its own, which also makes a tint. The
    square root of the residual's share of the variance, over all channels: 0 = the same but for colour, 1 = nothing in common.

    Args:
        first, second: [M, C, H, W], float.

    Returns:
        [M] in [0, 1]; 1 where the first image is flat.
    """
    a, b = first.flatten(2), second.flatten(2)  # [M, C, H W]
    a = a - a.mean(2, keepdim=True)
    b = b - b.mean(2, keepdim=True)
    own, other, both = (a * a).mean(2), (b * b).mean(2), (a * b).mean(2)  # [M, C]
    least = _LEAST_CONTRAST**2
    explained = both.clamp_min(0).square() / other.clamp_min(1e-12)
    explained = torch.where(other > least, explained, torch.zeros_like(explained))
    total, rest = own.sum(1), (own - explained).clamp_min(0).sum(1)
    return torch.where(total > least, (rest / total.clamp_min(1e-12)).sqrt(), torch.ones_like(total))


def shifts_within(height: int, width: int) -> list[tuple[int, int]]:
    """All shifts (down, right) of images of this size that are looked for, in pixels."""
    farthest = max(1, round(REACH * max(height, width)))
    span = range(-farthest, farthest + 1)
    return list(itertools.product(span, span))


def register(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The shift that brings the second image of each pair onto the first, and what is left then.

    The few shifts at which the grey images correlate most are compared exactly.

    Args:
        first, second: [M, C, H, W], float32.

    Returns:
        Shifts (down, right) [M, 2], int64, and what they leave unexplained [M].
    """
    shifts = torch.tensor(shifts_within(*first.shape[2:]))
    correlation = correlations(first.mean(1), second.mean(1), shifts)  # [M, S]
    tried = correlation.topk(min(_TRIED, len(shifts)), dim=1).indices  # [M, F]
    found = torch.empty(tried.shape)
    for number in torch.unique(tried):  # pairs with equal shifts are compared together
        pair, place = (tried == number).nonzero(as_tuple=True)
        down, right = shifts[number].tolist()
        found[pair, place] = unexplained(*overlap(first[pair], second[pair], down, right))
    distance, place = found.min(dim=1)
    return shifts[tried.gather(1, place[:, None])[:, 0]], distance


def correlations(first: torch.Tensor, second: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Correlation of pairs of grey images at each shift, over what both show, less each whole image's mean.

    Args:
        first, second: [M, H, W], float32.
        shifts: (down, right) [S, 2], none as large as the image.

    Returns:
        [M, S], at most 1.
    """
    a, b = (images - images.mean((1, 2), keepdim=True) for images in (first, second))
    height, width = a.shape[1:]
    reach = int(shifts.abs().max())
    size = (height + reach, width + reach)  # so that nothing comes round from the other side
    both = torch.fft.irfft2(torch.fft.rfft2(a, s=size) * torch.fft.rfft2(b, s=size).conj(), s=size)
    both = both[:, shifts[:, 0] % size[0], shifts[:, 1] % size[1]]  # [M, S]
    energy = _window_energies(a, shifts) * _window_energies(b, -shifts)
    return both / energy.sqrt().clamp_min(1e-6)


def _window_energies(images: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Sums of squares over the windows of `overlap` [M, S], from running sums."""
    height, width = images.shape[1:]
    sums = torch.zeros(len(images), height + 1, width + 1, dtype=torch.float64)
    sums[:, 1:, 1:] = images.double().square().cumsum(1).cumsum(2)
    top, left = shifts.clamp_min(0).unbind(1)
    bottom, right = height + shifts[:, 0].clamp_max(0), width + shifts[:, 1].clamp_max(0)
    window = sums[:, bottom, right] - sums[:, top, right] - sums[:, bottom, left] + sums[:, top, left]
    return window.clamp_min(0).float()
