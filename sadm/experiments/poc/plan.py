"""How a budget becomes the length of trainings and the number of paired seeds, the same for all domains.

Trainings of all domains see the same number of images (times a factor that a domain may ask for). Their length is the recipe's
where the budget then pays `WANTED` paired seeds, else as much shorter as that takes, but no shorter than `SHORTEST` of it; seeds
are as many as the budget then pays.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

FIRST_SEED = 100
LEAST, WANTED, MOST = 2, 5, 20
"""Paired seeds: without two there is no interval; five make it little wider than many would; more than 20 is no first look."""
ONE_ROUND = 3
"""Up to so many seeds are trained at once; of more, `LEAST` first in all domains, from whose time the others are reckoned."""
SHORTEST = 0.25
_JUDGED = 1000
RESERVE = 0.9
"""Share of the budget that is planned for: machines have slower minutes than the one in which they were measured."""


@dataclasses.dataclass(frozen=True)
class Speed:
    """What was measured for a domain on this machine; seconds are wall-clock.

    Attributes:
        batch: images a training step.
        step: seconds of a plain step.
        step_ratio: cost of a step of the structure arm over that.
        pretraining: seconds of encoder pre-training, once a structure-guided run.
        judging: seconds to draw and judge the images of one run.
        start: seconds until a worker can begin: Python, images, judges.
        report: seconds of everything after the last run.
    """

    batch: int
    step: float
    step_ratio: float
    pretraining: float
    judging: float
    start: float
    report: float

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return dataclasses.asdict(self)

    def steps(self, images: float) -> int:
        """Training steps that see so many images; at least 1."""
        return max(1, round(images / self.batch))

    def runs(self, images: float, seeds: int) -> list[float]:
        """Seconds of each training with its judging, in the order in which a comparison hands them out."""
        plain = self.steps(images) * self.step
        ours = plain * self.step_ratio + self.pretraining
        equal_cost = max(plain, self.pretraining + self.step * self.step_ratio)
        return [self.judging + run for run in [*[plain, ours] * seeds, *[equal_cost] * seeds]]

    def seconds(self, images: float, seeds: int, jobs: int) -> float:
        """Seconds of a comparison from its start to its report."""
        return self.start + makespan(self.runs(images, seeds), jobs) + self.report

    def in_rounds(self, images: float, seeds: int, jobs: int) -> float:
        """The same, where many seeds take two comparisons (see `ONE_ROUND`)."""
        if seeds <= ONE_ROUND:
            return self.seconds(images, seeds, jobs)
        return self.seconds(images, LEAST, jobs) + self.seconds(images, seeds - LEAST, jobs)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        images: that a training sees; a domain with a factor of its own, so many times as many.
        seeds: paired seeds in every domain.
        seconds: by domain, how long that takes.
    """

    images: int
    seeds: int
    seconds: Mapping[str, float]

    @property
    def total(self) -> float:
        """Seconds of all domains."""
        return sum(self.seconds.values())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class TooSmall:
    """No plan fits.

    Attributes:
        needed: seconds that the smallest plan takes, reserve included, besides what was spent before.
    """

    needed: float


def groups_of(judged: int, most: int) -> int:
    """Groups in which generated images are judged: as many as come to about 1,000 images.

    Args:
        judged: images in a group.
        most: no more groups than these.
    """
    return max(1, min(most, round(_JUDGED / judged)))


def makespan(durations: Sequence[float], workers: int) -> float:
    """Seconds until the last of some jobs is done, each handed to the first worker that is free."""
    free = [0.0] * max(1, workers)
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def make_plan(
    speeds: Mapping[str, Speed],
    factors: Mapping[str, float],
    whole: int,
    seconds: float,
    jobs: int,
    most: int = MOST,
) -> Plan | TooSmall:
    """Divides time among domains; see the module.

    Args:
        speeds: of each domain; at least one.
        factors: by domain, how many times as many images its trainings see as others'; 1 where not named.
        whole: images that a training of the recipe's full length sees.
        seconds: that are left of the budget.
        jobs: trainings at a time.
        most: paired seeds at most.
    """
    usable = seconds * RESERVE

    def planned(images: int, seeds: int) -> Plan:
        by_domain = {
            name: speed.in_rounds(images * factors.get(name, 1.0), seeds, jobs) for name, speed in speeds.items()
        }
        return Plan(images, seeds, by_domain)

    shortest = max(1, math.ceil(whole * SHORTEST))
    images = _largest(shortest, whole, lambda images: planned(images, min(WANTED, most)).total <= usable)
    counts = range(most, LEAST - 1, -1)
    best = next((plan for seeds in counts if (plan := planned(images, seeds)).total <= usable), planned(images, LEAST))
    return best if best.total <= usable else TooSmall(best.total / RESERVE)


def seconds_to(
    seeds: int,
    speeds: Mapping[str, Speed],
    factors: Mapping[str, float],
    images: int,
    done: Mapping[str, int],
    slowness: Mapping[str, float],
    jobs: int,
) -> float:
    """Seconds that bring all domains to so many paired seeds.

    Args:
        seeds: that all are to have.
        speeds: of each domain.
        factors: see `make_plan`.
        images: that a training sees.
        done: seeds that each domain has.
        slowness: by domain, seconds that its trainings took over those that were planned; 1 where not named.
        jobs: trainings at a time.
    """
    return sum(
        slowness.get(name, 1.0) * speed.seconds(images * factors.get(name, 1.0), seeds - done[name], jobs)
        for name, speed in speeds.items()
        if seeds > done[name]
    )


def _largest(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """The largest number from `low` to `high` that fits, where smaller ones fit, too; `low` where none does."""
    if fits(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
