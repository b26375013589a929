"""What stored distances are held against: the floor, in the judges that decide."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from sadm.core.intervals import CONFIDENCE, Interval
from sadm.evaluation import Evaluator
from sadm.experiments.runs import Result, Runs
from sadm.experiments.statistics import AT_THE_FLOOR, DIVERGED, Missing, geometric_mean

NEAREST = 0.01
"""What is nearer to the floor than this share of it counts as so near: the floor is known no better, and the logarithm of what
noise leaves above it would outweigh all other seeds and judges."""
TINY = 1e-12
"""The same in a judge whose floor is 0, of which there is no share."""


@dataclasses.dataclass(frozen=True)
class Yardstick:
    """What a Fréchet distance is held against.

    Attributes:
        floor: what real images score, by judge.
        deciding: the judges that count.
    """

    floor: Mapping[str, float]
    deciding: tuple[str, ...]

    @staticmethod
    def of(evaluator: Evaluator) -> Yardstick:
        """The floor and the deciding judges of an evaluation."""
        deciding = tuple(name for name, facts in evaluator.describe().items() if facts["decides"])
        return Yardstick(evaluator.floor, deciding)

    def excess(self, runs: Runs) -> dict[str, list[float]]:
        """FD - floor by deciding judge, one for each seed; of runs that all finished."""

        def distance(result: Result, judge: str) -> float:
            return float(result["evaluation"]["fd"][judge]) - self.floor[judge]

        return {judge: [distance(result, judge) for result in runs.results] for judge in self.deciding}

    def score(self, runs: Runs) -> float:
        """What settings are ranked by, smaller is better: the mean of log(FD - floor) over seeds and deciding judges.

        Differences of two scores are mean log-ratios, as long as no run comes nearer to the floor than `NEAREST`, beyond which
        nothing is measured. Infinite where a run diverged.
        """
        if runs.diverged:
            return math.inf
        values = [
            max(value, NEAREST * self.floor[judge], TINY)
            for judge, by_seed in self.excess(runs).items()
            for value in by_seed
        ]
        return sum(map(math.log, values)) / len(values)

    def ratio(self, runs: Runs, other: Runs, confidence: float = CONFIDENCE) -> Interval | Missing:
        """Paired ratio of FD - floor over the other runs', each seed's averaged (as logarithms) over the deciding judges."""
        if runs.diverged or other.diverged:
            return Missing(DIVERGED)
        own, base = self.excess(runs), self.excess(other)
        if min(value for by in (own, base) for values in by.values() for value in values) <= 0:
            return Missing(AT_THE_FLOOR)
        ratios = {judge: [a / b for a, b in zip(own[judge], base[judge], strict=True)] for judge in own}
        return geometric_mean({"sweep": ratios}, confidence)
