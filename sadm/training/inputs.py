"""What a training step works on: a batch, and the random draws for it, all decided by (seed, step)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import torch

from sadm.core.conditions import Cond
from sadm.core.seeds import generator
from sadm.data.batches import Batch
from sadm.diffusion.densities import Density


class Batches(Protocol):
    """What training images come from.

    Attributes:
        batch_size: images of a step, of all processes.
        share: places among them of this process's.
    """

    batch_size: int
    share: slice

    def batch(self, step: int) -> Batch:
        """This process's share of the batch of a step, from 0."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class StepInputs:
    """What one step starts from; made on the CPU.

    Attributes:
        x0: clean images [B, C, H, W], float32 in [-1, 1].
        sigma: noise levels [B].
        noise: unit Gaussian [B, C, H, W].
        cond: what the denoiser is told, some labels dropped for classifier-free guidance.
        label: all labels [B], where the images have any.
        index: the images' positions in the set [B - prior]; always on the CPU.
        prior: how many of the images, the last ones, were drawn from the model that the training started from.
    """

    x0: torch.Tensor
    sigma: torch.Tensor
    noise: torch.Tensor
    cond: Cond
    label: torch.Tensor | None
    index: torch.Tensor
    prior: int = 0

    def followed_by(self, prior: StepInputs) -> StepInputs:
        """These images and, behind them, some that were drawn from the model that the training started from."""
        unknown = {
            name: _none_of(getattr(self.cond, name), len(prior.x0)) for name in ("augment", "attributes", "image")
        }
        told = dataclasses.replace(prior.cond, **unknown)
        return StepInputs(
            x0=torch.cat([self.x0, prior.x0]),
            sigma=torch.cat([self.sigma, prior.sigma]),
            noise=torch.cat([self.noise, prior.noise]),
            cond=Cond(**{name: _both(getattr(self.cond, name), getattr(told, name)) for name in vars(told)}),
            label=_both(self.label, prior.label),
            index=self.index,
            prior=len(prior.x0),
        )

    def part(self, rows: slice) -> StepInputs:
        """The same for some of the images, none of them drawn from the model that the training started from."""
        if self.prior:
            raise ValueError("a batch with images of the model that the training started from can't be cut")
        part = self._map(lambda tensor: tensor[rows])
        return dataclasses.replace(part, index=self.index[rows])

    def to(self, device: torch.device) -> StepInputs:
        """On `device`; the copy of pinned tensors goes on in the background there."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> StepInputs:
        """In page-locked memory, from which a CUDA device copies by itself."""
        return self._map(torch.Tensor.pin_memory)

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> StepInputs:
        return StepInputs(
            x0=function(self.x0),
            sigma=function(self.sigma),
            noise=function(self.noise),
            cond=self.cond.map(function),
            label=None if self.label is None else function(self.label),
            index=self.index,
            prior=self.prior,
        )


def _none_of(given: torch.Tensor | None, count: int) -> torch.Tensor | None:
    """What tells as many images of nothing."""
    return None if given is None else given.new_zeros(count, *given.shape[1:])


def _both(first: torch.Tensor | None, second: torch.Tensor | None) -> torch.Tensor | None:
    return None if first is None or second is None else torch.cat([first, second])


def draw_inputs(
    stream: Batches, step: int, density: Density, seed: int, label_dropout: float, null_label: int
) -> StepInputs:
    """The batch of `step`, with its noise levels, noise and dropped labels, from (seed, "training", step).

    Args:
        stream: of the training images.
        step: from 0.
        density: of the noise levels.
        seed: of the run.
        label_dropout: probability with which a label becomes `null_label`.
        null_label: the class that means "unknown".
    """
    batch, whole, own = stream.batch(step), stream.batch_size, stream.share
    draws = generator(seed, "training", step)
    # Of several processes, each draws for all, and takes its share: so the number of processes changes no number.
    sigma = density.sample(whole, draws)[own]  # [B]
    noise = torch.randn(whole, *batch.x0.shape[1:], generator=draws)[own]  # [B, C, H, W]
    dropped = torch.rand(whole, generator=draws)[own] < label_dropout  # [B]
    cond = batch.cond.with_label_dropped(dropped, null_label)
    return StepInputs(batch.x0, sigma, noise, cond, batch.cond.label, batch.index)
