"""Permutation tests of two sets of images, in which images that belong together stay together.

Under no drift, new images and reference images are exchangeable, unit by unit (a unit is a group, or an image alone). Any
statistic then ranks evenly among its values at random relabellings of the units, so that the p-value (1 + those as large) / (1 +
all) is valid whatever the distribution and however small the sets (Phipson and Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from sadm.core.errors import UserError
from sadm.core.seeds import derive_seed

RELABELLINGS = 4999
_AT_ONCE = 1 << 26  # numbers held at a time
_SCALES = (0.5, 1.0, 2.0)
_TIE = 1e-6  # relative: values closer than this are equal, whatever the order of their sums

Statistic = Callable[[torch.Tensor], torch.Tensor]
"""Of marks [B, n], float32, 1 where an image is new; [B]."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A test of two sets; larger values speak against no drift.

    Attributes:
        value: the statistic.
        null: the same at random relabellings [B]: what no drift gives at these numbers.
    """

    value: float
    null: np.ndarray

    @property
    def p_value(self) -> float:
        """Of no drift; never 0."""
        tie = _TIE * max(abs(self.value), float(np.abs(self.null).max(initial=0)))
        return (1 + int((self.null >= self.value - tie).sum())) / (1 + len(self.null))

    def critical(self, level: float) -> float:
        """What the statistic must exceed for a p-value of at most `level`; infinite where no value can."""
        beyond = int(level * (1 + len(self.null))) - 1
        return float(np.sort(self.null)[len(self.null) - beyond - 1]) if 0 <= beyond < len(self.null) else np.inf

    @property
    def usual(self) -> float:
        """95 % of the relabellings give at most this."""
        return float(np.quantile(self.null, 0.95))


class Relabelling:
    """Which images count as new: first those that are, then at random, units whole.

    Args:
        new: number of each new image's unit [N].
        reference: likewise [M]; numbers are those of `new` only where units are shared.
        seed: of the draws.
        count: relabellings.
        strata: class of each image, new ones first [N + M]: labels are exchanged within a class alone (a unit is of the class of
            its first image). None = everywhere.

    Raises:
        UserError: a set without images, or a unit on both sides.
    """

    def __init__(
        self,
        new: np.ndarray,
        reference: np.ndarray,
        seed: int = 0,
        count: int = RELABELLINGS,
        strata: np.ndarray | None = None,
    ) -> None:
        if not len(new) or not len(reference):
            raise UserError(f"a comparison needs images on both sides, got {len(new)} and {len(reference)}.")
        if np.intersect1d(new, reference).size:
            raise UserError("new and reference images share a group; neither set would tell anything about the other.")
        _, first, unit = np.unique(np.concatenate([new, reference]), return_index=True, return_inverse=True)
        unit, draws = unit.reshape(-1), np.random.default_rng(derive_seed(seed, "relabelling"))
        is_new = first < len(new)
        marks = np.tile(is_new, (count + 1, 1))  # [1 + B, units]
        kinds = np.zeros(len(first), np.int64) if strata is None else strata[first]
        for kind in np.unique(kinds):
            members = np.flatnonzero(kinds == kind)
            marks[1:, members] = draws.permuted(marks[1:, members], axis=1)
        self.marks = torch.from_numpy(marks[:, unit]).float()  # [1 + B, N + M]

    def discrepancy(self, kernel: torch.Tensor) -> Outcome:
        """The unbiased squared maximum mean discrepancy (Gretton et al. 2012, JMLR 13, eq. 3).

        Args:
            kernel: of all pairs of images, new ones first [N + M, N + M].
        """
        return self._tested(lambda marks: discrepancies(kernel, marks))

    def distribution(self, values: np.ndarray) -> Outcome:
        """Kolmogorov and Smirnov's distance of one number's distributions.

        Args:
            values: of each image, new ones first [N + M].
        """
        order = np.argsort(values, kind="stable")
        ends = torch.from_numpy(np.flatnonzero(np.append(np.diff(values[order]) > 0, True)))

        def distances(marks: torch.Tensor) -> torch.Tensor:
            size = marks.sum(1, keepdim=True)
            below = marks[:, order].cumsum(1)[:, ends]  # new ones
            return (below / size - (ends + 1 - below) / (marks.shape[1] - size)).abs().amax(1)

        return self._tested(distances)

    def shares(self, labels: np.ndarray) -> Outcome:
        """Pearson's chi-squared statistic of class shares.

        Args:
            labels: class of each image, new ones first [N + M].
        """
        kinds = torch.from_numpy(np.unique(labels, return_inverse=True)[1].reshape(-1))
        one_hot = torch.nn.functional.one_hot(kinds).float()  # [N + M, K]

        def statistics(marks: torch.Tensor) -> torch.Tensor:
            whole, size = one_hot.sum(0), marks.sum(1, keepdim=True)
            found = torch.stack([marks @ one_hot, whole - marks @ one_hot], 1)  # [B, 2, K]
            expected = torch.stack([size, marks.shape[1] - size], 1) * whole / marks.shape[1]
            return ((found - expected) ** 2 / expected).sum((1, 2))

        return self._tested(statistics)

    def tail(self, scores: np.ndarray, share: float) -> Outcome:
        """The share of new images among the highest of all scores.

        Args:
            scores: of each image, new ones first [N + M].
            share: of all images that count as high.
        """
        count = max(1, round(share * len(scores)))
        high = torch.from_numpy((scores >= np.sort(scores)[-count]).astype(np.float32))
        return self._tested(lambda marks: marks @ high / marks.sum(1))

    def farther(self, kernel: torch.Tensor, to_generated: torch.Tensor) -> Outcome:
        """By how much generated images are farther from new than from reference images, in squared mean discrepancy.

        Args:
            kernel: of all pairs of real images, new ones first [N + M, N + M].
            to_generated: mean of the kernel with the generated images [N + M].
        """
        hollow, level = _hollow(kernel), to_generated.float()

        def differences(marks: torch.Tensor) -> torch.Tensor:
            sides = []
            for side in (marks, 1 - marks):
                size = side.sum(1)
                pairs = ((side @ hollow) * side).sum(1) / (size * (size - 1)).clamp_min(1)
                sides.append(pairs - 2 * (side @ level) / size)
            return sides[0] - sides[1]

        return self._tested(differences)

    def _tested(self, statistic: Statistic) -> Outcome:
        """Over all relabellings, part by part."""
        rows = max(1, _AT_ONCE // self.marks.shape[1])
        values = torch.cat([statistic(part) for part in self.marks.split(rows)]).double().numpy()
        return Outcome(float(values[0]), values[1:])


def discrepancies(kernel: torch.Tensor, marks: torch.Tensor) -> torch.Tensor:
    """The unbiased squared maximum mean discrepancy at each division.

    Args:
        kernel: of all pairs [n, n].
        marks: 1 where an image is new, 0 elsewhere [B, n], float32, at least 2 of each.

    Returns:
        [B], float32.
    """
    hollow = _hollow(kernel)
    of_new = marks @ hollow  # [B, n]
    new = (of_new * marks).sum(1)
    between, whole = of_new.sum(1) - new, hollow.sum()
    rest, n = whole - new - 2 * between, marks.sum(1)
    m = marks.shape[1] - n
    return new / (n * (n - 1)).clamp_min(1) + rest / (m * (m - 1)).clamp_min(1) - 2 * between / (n * m)


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Gaussian kernels of half, once and twice a width, averaged: a kernel that tells all distributions apart.

    Attributes:
        variance: square of the width.
    """

    variance: float

    @staticmethod
    def of(features: np.ndarray) -> Gaussian:
        """With the median distance of all pairs of `features` [n, d], which no relabelling changes, as its width."""
        points = torch.from_numpy(features)
        above = _squares(points, points)[tuple(torch.triu_indices(len(points), len(points), 1))]
        middle = float(above.median()) if len(above) else 0.0
        return Gaussian(middle or float(above.mean()) if len(above) else 1.0)

    def __call__(self, first: np.ndarray, second: np.ndarray) -> torch.Tensor:
        """Of all pairs [n, m], float32."""
        shares = _squares(torch.from_numpy(first), torch.from_numpy(second)).div_(2 * max(self.variance, 1e-12))
        return sum((torch.exp(-shares / scale**2) for scale in _SCALES), torch.zeros(())).div(len(_SCALES)).float()


def _squares(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Squared distances [n, m], float64; centred, since differences of large products lose digits."""
    centre = first.double().mean(0)
    a, b = first.double() - centre, second.double() - centre
    return ((a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T).clamp_min_(0)


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """P-values adjusted for their number (Holm 1979, Scand. J. Stat. 6): whatever their dependence, the probability that any
    true hypothesis gets one below a level is at most that level."""
    adjusted, largest = {}, 0.0
    for rank, (name, value) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * value))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def _hollow(kernel: torch.Tensor) -> torch.Tensor:
    return kernel.float() * (1 - torch.eye(len(kernel)))
