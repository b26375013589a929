"""Which runs a sweep is made of: all settings, or those that successive halving leaves, and how settings are ranked.

Early stop follows Successive Halving (Jamieson & Talwalkar 2016, arXiv 1502.07943, figure 1), with two differences: a setting's
training begins anew at every rung, so that each has a learning-rate schedule of its own length and rungs say what a short
training would; and settings are ranked over all paired seeds at once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sadm.core.intervals import CONFIDENCE, Interval
from sadm.evaluation import Evaluator
from sadm.experiments.plan import RunJob
from sadm.experiments.runs import Result, Runs
from sadm.experiments.statistics import AT_THE_FLOOR, DIVERGED, Missing, geometric_mean
from sadm.experiments.sweep.config import SweepConfig

WORSE = "ranked too low"


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

        Differences of two scores are mean log-ratios. Infinite where a run diverged; minus infinite where one came down to the
        floor in some judge, beyond which nothing is measured.
        """
        if runs.diverged:
            return math.inf
        values = [value for by_seed in self.excess(runs).values() for value in by_seed]
        return -math.inf if min(values) <= 0 else sum(map(math.log, values)) / len(values)

    def ratio(self, runs: Runs, other: Runs, confidence: float = CONFIDENCE) -> Interval | Missing:
        """Paired ratio of FD - floor over the other runs', each seed's averaged (as logarithms) over the deciding judges."""
        if runs.diverged or other.diverged:
            return Missing(DIVERGED)
        own, base = self.excess(runs), self.excess(other)
        if min(value for by in (own, base) for values in by.values() for value in values) <= 0:
            return Missing(AT_THE_FLOOR)
        ratios = {judge: [a / b for a, b in zip(own[judge], base[judge], strict=True)] for judge in own}
        return geometric_mean({"sweep": ratios}, confidence)


@dataclasses.dataclass(frozen=True)
class Rung:
    """All settings that train for one number of steps.

    Attributes:
        share: of the whole budget.
        steps: training steps.
        settings: that take part, in the order of the grid.
        ranked: the same from best to worst; empty before all their runs are finished.
        stopped: those that train no longer, with the reason, from better to worse.
    """

    share: float
    steps: int
    settings: tuple[str, ...]
    ranked: tuple[str, ...] = ()
    stopped: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def jobs(self, seeds: Sequence[int]) -> list[RunJob]:
        """Its runs, seed by seed."""
        return [RunJob(name, seed, self.steps) for seed in seeds for name in self.settings]


def rungs(config: SweepConfig, folder: Path, yardstick: Yardstick | None) -> list[Rung]:
    """The rungs that are known by now: the last one is unfinished, or trains for the whole budget.

    They follow from the configuration and the stored results alone, so that neither an interruption nor the order in which runs
    finish changes who is stopped.

    Args:
        config: the sweep.
        folder: of its results.
        yardstick: None where nothing is stopped early.
    """
    whole, settings = config.train.optimiser.steps, tuple(config.settings)
    found: list[Rung] = []
    for share in config.early_stop:
        rung = Rung(share, max(1, round(share * whole)), settings)
        if not all(job.is_complete(folder, config) for job in rung.jobs(config.seeds)):
            return [*found, rung]
        assert yardstick is not None  # noqa: S101 - the caller has one where there are early stops
        ranked = rank(config, folder, rung, yardstick)
        stopped = _stopped(config, ranked)
        found.append(dataclasses.replace(rung, ranked=tuple(runs.jobs[0].arm for runs in ranked), stopped=stopped))
        settings = tuple(name for name in settings if name not in stopped)
    return [*found, Rung(1.0, whole, settings)]


def rank(config: SweepConfig, folder: Path, rung: Rung, yardstick: Yardstick) -> list[Runs]:
    """The runs of a finished rung from the best setting to the worst; equal ones in the order of the grid."""
    runs = [Runs.read(folder, name, config.seeds, rung.steps) for name in rung.settings]
    return sorted(runs, key=yardstick.score)


def expected_work(config: SweepConfig) -> list[tuple[int, float]]:
    """Rung by rung, how many trainings there are at most, and the share of the whole steps that each takes."""
    count, found = len(config.settings), []
    for share in config.early_stop:
        found.append((count * len(config.seeds), share))
        count = min(count, _kept(config, count) + 1)  # the baseline may be among the worse ones, and stays beside
    return [*found, (count * len(config.seeds), 1.0)]


def _kept(config: SweepConfig, count: int) -> int:
    return max(1, math.ceil(config.keep * count - 1e-9))


def _stopped(config: SweepConfig, ranked: Sequence[Runs]) -> dict[str, str]:
    """Who goes: whatever diverged, and all behind the share that is kept; never the baseline."""
    kept = _kept(config, len(ranked))
    reasons: dict[str, Any] = {}
    for place, runs in enumerate(ranked):
        name = runs.jobs[0].arm
        if name != config.first and (runs.diverged or place >= kept):
            reasons[name] = DIVERGED if runs.diverged else WORSE
    return reasons
