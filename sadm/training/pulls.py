"""What signals ask for at hidden activations, and how much of it they get."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import reduce

import torch

from sadm.structure.balance import within


@dataclasses.dataclass(frozen=True)
class Pull:
    """A signal's gradient at an activation.

    Attributes:
        gradient: of n images [n, ...].
        ratio: bound on its norm, image by image, over that of what reaches the activation from x0_hat; None = no bound.
    """

    gradient: torch.Tensor
    ratio: float | None = None

    def __getitem__(self, rows: slice) -> Pull:
        return Pull(self.gradient[rows], self.ratio)

    def scaled(self, factor: float) -> Pull:
        """The gradient times a factor."""
        return Pull(factor * self.gradient, self.ratio)

    def within(self, reaching: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The gradient, scaled down where it exceeds its share of what reaches the activation [n, ...]; asked only if need be."""
        if self.ratio is None:
            return self.gradient
        return within(self.gradient, reaching(), self.ratio)


def total(pulls: Sequence[Pull], reaching: Callable[[], torch.Tensor]) -> torch.Tensor:
    """The sum of the pulls at one activation [n, ...], each within its bound; see `Pull.within`."""
    return reduce(torch.add, [pull.within(reaching) for pull in pulls])
