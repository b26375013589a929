"""The control that costs nothing: pixels of real defects cut out and pasted on good images."""

from __future__ import annotations

import torch
from torch.nn import functional

from sadm.core.seeds import generator
from sadm.evaluation.memorisation.copies import turn


def pasted(
    good: torch.Tensor, defects: torch.Tensor, masks: torch.Tensor, count: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pastes real defects on good images, turned, moved, with a soft edge and the brightness of their surroundings.

    In the manner of cut-paste augmentation (Li et al. 2021, arXiv 2104.04015), with real defects in place of arbitrary patches.

    Args:
        good: images without defects [G, C, H, W], uint8, square.
        defects: images with defects [N, C, H, W], uint8.
        masks: what is marked in these [N, 1, H, W], uint8.
        count: images to make.
        seed: of what is drawn.

    Returns:
        Images [count, C, H, W] and masks [count, 1, H, W], uint8.
    """
    side = good.shape[2]
    images, marks = [], []
    for index in range(count):
        draws = generator(seed, "pasted", index)
        row, under, turns = (int(torch.randint(n, (), generator=draws)) for n in (len(defects), len(good), 8))
        both = torch.cat([defects[row], masks[row]])  # [C + 1, H, W]
        both = turn(both, turns)
        marked = (both[-1] >= 128).nonzero()
        (top, left), (bottom, right) = marked.amin(0).tolist(), marked.amax(0).tolist()
        down, across = _move(top, bottom, side, draws), _move(left, right, side, draws)
        both = torch.roll(both, (down, across), dims=(1, 2))
        mask = (both[-1:] >= 128).float()  # [1, H, W]
        background = good[under].float()
        inside = mask.bool().expand_as(background)
        outside = both[:-1].float()
        shift = (background.mean((1, 2)) - outside.mean((1, 2)))[:, None, None]
        soft = torch.where(inside[:1], 1.0, 0.5 * functional.avg_pool2d(mask[None], 3, 1, 1)[0])
        mixed = soft * (outside + shift) + (1 - soft) * background
        images.append(mixed.round().clamp(0, 255).to(torch.uint8))
        marks.append(mask.to(torch.uint8) * 255)
    return torch.stack(images), torch.stack(marks)


def _move(first: int, last: int, side: int, draws: torch.Generator) -> int:
    """By how much a defect from pixel `first` to `last` of an axis is moved, all of it within; not, if it reaches one end.

    There it probably went on beyond, and cut off straight it belongs at that end.
    """
    by = int(torch.randint(side - last + first, (), generator=draws)) - first
    return 0 if (first == 0) != (last == side - 1) else by
