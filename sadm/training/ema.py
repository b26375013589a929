"""Averaged weights, the ones that samples are drawn from."""

from __future__ import annotations

import copy
import functools

import torch
from torch import nn

from sadm.training.parallel.engine import local


class EMA:
    """Exponential moving average of a module's parameters that learn, counted in images.

    Args:
        module: what to follow; buffers are copied as they are. Parameters without ``requires_grad`` are shared with it.
        half_life: images after which an old weight counts half.
        warmup: early on the half-life is at most `warmup` times the images seen (EDM's ramp-up); 0 = no warm-up.
        apart: share nothing, since both will be shared out over processes.
    """

    def __init__(self, module: nn.Module, half_life: float, warmup: float, apart: bool = False) -> None:
        frozen = {id(parameter): parameter for parameter in module.parameters() if not parameter.requires_grad}
        self.module = copy.deepcopy(module, {} if apart else frozen).eval()
        self.half_life, self.warmup, self._followed = half_life, warmup, module
        self._names = [name for name, part in module.named_parameters() if part.requires_grad]
        self.module.requires_grad_(False)

    @functools.cached_property
    def _pairs(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The averages and what they follow; first asked for at a step, since sharing weights out replaces parameters."""
        average, current = (dict(module.named_parameters()) for module in (self.module, self._followed))
        return [average[name] for name in self._names], [current[name] for name in self._names]

    def decay(self, batch: int, images_seen: int) -> float:
        """Factor on the old average for a step of `batch` images, `images_seen` including them."""
        half_life = min(self.half_life, self.warmup * images_seen) if self.warmup else self.half_life
        return 0.5 ** (batch / half_life)

    @torch.no_grad()
    def update(self, batch: int, images_seen: int) -> None:
        """Moves the average towards the current weights; of weights in shares, each process its own."""
        average, current = ([local(part) for part in parts] for parts in self._pairs)
        torch._foreach_lerp_(average, current, 1 - self.decay(batch, images_seen))
