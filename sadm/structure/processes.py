"""One batch over several processes: each has a part of the images, and all of them relate all images.

The convention is that of DDP, FSDP and accelerate: gradients of the weights are *averaged* over the N processes. What a process
gets at its own images is therefore N times the gradient of the one gap that all of them compute, as the gradient of its own mean
loss is N times its part in the mean over all images. With one process nothing is sent, and nothing is changed by a bit.

What is sent grows with the number of images times the width of an embedding, never with the size of an image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import distributed


@dataclasses.dataclass(frozen=True)
class Processes:
    """The processes that share a batch; its images lie in the order of their ranks.

    Attributes:
        rank: which of them this is, from 0.
        count: how many there are.
        group: torch's process group; None = all processes.
    """

    rank: int = 0
    count: int = 1
    group: Any = None

    def part(self, rows: int, device: torch.device) -> Part:
        """This process's part of a batch, of `rows` images here and maybe of others elsewhere."""
        if self.count == 1:
            return Part(self, (rows,))
        return Part(self, tuple(int(size) for size in self._gathered(torch.tensor([rows], device=device))))

    def sum(self, own: torch.Tensor) -> torch.Tensor:
        """The sum over processes, for a loss that each of them computes alike from it; differentiable once."""
        if self.count == 1:
            return own
        total: torch.Tensor = _Sum.apply(own, self)
        return total

    def highest(self, number: int, device: torch.device) -> int:
        """The largest of the processes' numbers, so that all of them come to one decision."""
        if self.count == 1:
            return number
        shared = torch.tensor(number, device=device)
        distributed.all_reduce(shared, distributed.ReduceOp.MAX, group=self.group)
        return int(shared)

    def average(self, gradients: Sequence[torch.Tensor | None]) -> None:
        """Replaces gradients of weights that every process holds by their means over processes, in place."""
        if self.count == 1:
            return
        for gradient in gradients:  # None where a weight takes no part, which is so in every process
            if gradient is not None:
                distributed.all_reduce(gradient, group=self.group)
                gradient.div_(self.count)

    def _gathered(self, own: torch.Tensor) -> list[torch.Tensor]:
        """Every process's tensor; all of one shape."""
        found = [torch.empty_like(own) for _ in range(self.count)]
        distributed.all_gather(found, own.contiguous(), group=self.group)
        return found

    def gathered(self, own: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
        """The rows of all processes [sum of sizes, ...], without a gradient."""
        longest = max(sizes)
        padded = torch.cat([own, own.new_zeros(longest - len(own), *own.shape[1:])])
        return torch.cat([rows[:size] for rows, size in zip(self._gathered(padded), sizes, strict=True)])


ALONE = Processes()
"""One process, and nobody to share with."""


def processes_here() -> Processes:
    """All processes of torch's default group; one, where there is none."""
    if distributed.is_available() and distributed.is_initialized():
        return Processes(distributed.get_rank(), distributed.get_world_size())
    return ALONE


@dataclasses.dataclass(frozen=True)
class Part:
    """The rows of a batch that this process holds.

    Attributes:
        processes: that share the batch.
        sizes: rows of each.
    """

    processes: Processes
    sizes: tuple[int, ...]

    @classmethod
    def alone(cls, rows: int) -> Part:
        """All of a batch of `rows`."""
        return cls(ALONE, (rows,))

    @property
    def size(self) -> int:
        """Rows here."""
        return self.sizes[self.processes.rank]

    @property
    def whole(self) -> int:
        """Rows of the whole batch."""
        return sum(self.sizes)

    @property
    def places(self) -> slice:
        """Of these rows in the whole batch."""
        start = sum(self.sizes[: self.processes.rank])
        return slice(start, start + self.size)

    def rows(self, own: torch.Tensor) -> torch.Tensor:
        """The whole batch's rows [whole, ...] from each process's own [size, ...]; differentiable, also twice.

        The gradient at one's own rows is the sum over processes of the gradients of what they computed.
        """
        if self.processes.count == 1:
            return own
        if not own.is_floating_point():
            return self.processes.gathered(own, self.sizes)
        rows: torch.Tensor = _Rows.apply(own, self)
        return rows

    def own(self, whole: torch.Tensor) -> torch.Tensor:
        """This process's rows of what is known of all."""
        return whole if self.processes.count == 1 else whole[self.places]

    @staticmethod
    def shown(chosen: torch.Tensor) -> torch.Tensor:
        """Rows to give a network for those chosen here [n]: themselves, or where there is none, one that does not count.

        Networks need not take an empty batch. Of what they give, the first n rows are those of the chosen.
        """
        return chosen if len(chosen) else chosen.new_zeros(1)

    def chosen(self, places: torch.Tensor) -> tuple[Part, torch.Tensor]:
        """Some rows of the whole batch, as parts of a smaller one.

        Args:
            places: in the whole batch [m], ascending.

        Returns:
            The part of them that lies here, and its rows here [n], n <= m.
        """
        if self.processes.count == 1:
            return Part.alone(len(places)), places
        ends = torch.tensor(self.sizes).cumsum(0)  # [N]
        holder = torch.bucketize(places.cpu(), ends, right=True)  # [m]
        sizes = torch.bincount(holder, minlength=self.processes.count).tolist()
        part = Part(self.processes, tuple(sizes))
        return part, places[part.places] - self.places.start


class _Rows(torch.autograd.Function):
    """Rows of all processes; backwards, one's own rows of the sum over processes."""

    @staticmethod
    def forward(ctx: Any, own: torch.Tensor, part: Part) -> torch.Tensor:
        ctx.part = part
        return part.processes.gathered(own, part.sizes)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _OwnOfSum.apply(gradient, ctx.part), None


class _OwnOfSum(torch.autograd.Function):
    """One's own rows of the sum over processes; backwards, rows of all processes."""

    @staticmethod
    def forward(ctx: Any, whole: torch.Tensor, part: Part) -> torch.Tensor:
        ctx.part = part
        total = whole.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total, group=part.processes.group)
        return total[part.places]

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _Rows.apply(gradient, ctx.part), None


class _Sum(torch.autograd.Function):
    """The sum over processes; backwards nothing is sent, since each process has the same gradient there."""

    @staticmethod
    def forward(ctx: Any, own: torch.Tensor, processes: Processes) -> torch.Tensor:
        ctx.count = processes.count
        total = own.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total, group=processes.group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient * ctx.count, None
