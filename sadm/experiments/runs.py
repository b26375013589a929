"""The stored results of a comparison: of one arm at one budget, and all together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sadm.core.errors import UserError
from sadm.experiments.config import CONTROL, CompareConfig
from sadm.experiments.cost import ArmCost, read_costs
from sadm.experiments.plan import RunJob, steps_at
from sadm.experiments.statistics import DIVERGED, Interval, Missing, mean_interval, paired_ratio

Result = dict[str, Any]
Value = Callable[[Result], float]
EQUAL_COST, EQUAL_STEPS = "equal_cost", "equal_steps"


@dataclasses.dataclass(frozen=True)
class Runs:
    """Results of one arm at one budget.

    Attributes:
        jobs: the runs, one for each seed.
        results: what they gave, in the same order.
    """

    jobs: tuple[RunJob, ...]
    results: tuple[Result, ...]

    @staticmethod
    def read(folder: Path, arm: str, seeds: Sequence[int], steps: int) -> Runs:
        """The stored results of an arm that trained for `steps` steps.

        Raises:
            UserError: a result is missing.
        """
        jobs = tuple(RunJob(arm, seed, steps) for seed in seeds)
        results = [job.read_result(folder) for job in jobs]
        missing = [job.name for job, result in zip(jobs, results, strict=True) if result is None]
        if missing:
            raise UserError(f"{folder} holds no result of {', '.join(missing)}. Run the same command again.")
        return Runs(jobs, tuple(result for result in results if result is not None))

    @property
    def finished(self) -> list[Result]:
        """The results of the trainings that did not diverge."""
        return [result for result in self.results if not result["diverged"]]

    @property
    def diverged(self) -> list[int]:
        """Seeds of the trainings that diverged."""
        return [result["seed"] for result in self.results if result["diverged"]]

    def first_finished(self) -> RunJob | None:
        """The first run that did not diverge; None where all did."""
        return next((job for job, result in zip(self.jobs, self.results, strict=True) if not result["diverged"]), None)

    def interval(self, value: Value) -> dict[str, Any]:
        """Mean and interval of a number over the finished runs, for JSON; there must be some."""
        return mean_interval([value(result) for result in self.finished]).as_dict()

    def against(self, control: Runs, value: Value) -> Interval | Missing:
        """Paired ratio of a number of these runs over that of the control's, on the seeds of these runs."""
        pairs = self._pairs(control)
        if pairs is None:
            return Missing(DIVERGED)
        return paired_ratio([value(ours) for ours, _ in pairs], [value(theirs) for _, theirs in pairs])

    def beyond(self, control: Runs, value: Value) -> Interval | Missing:
        """Paired difference of a number of these runs and the control's, on the seeds of these runs."""
        pairs = self._pairs(control)
        if pairs is None:
            return Missing(DIVERGED)
        return mean_interval([value(ours) - value(theirs) for ours, theirs in pairs])

    def _pairs(self, control: Runs) -> list[tuple[Result, Result]] | None:
        """Results of the same seeds, which the control has all of; None where one diverged."""
        theirs = {job.seed: result for job, result in zip(control.jobs, control.results, strict=True)}
        pairs = [(result, theirs[job.seed]) for job, result in zip(self.jobs, self.results, strict=True)]
        return None if any(result["diverged"] for pair in pairs for result in pair) else pairs


@dataclasses.dataclass(frozen=True)
class Gathered:
    """All runs of a comparison.

    Attributes:
        control: the control's, at the whole budget.
        budgets: by budget (`EQUAL_COST`, `EQUAL_STEPS`), the runs of every other arm.
        shares: by arm, the control among them, and by cost as a share of the control's whole budget, its runs.
        costs: by arm, what was measured.
    """

    control: Runs
    budgets: dict[str, dict[str, Runs]]
    shares: dict[str, dict[float, Runs]]
    costs: dict[str, ArmCost]

    @property
    def results(self) -> list[Result]:
        """The results of all runs."""
        return [result for by in self.shares.values() for runs in by.values() for result in runs.results]


def gather(config: CompareConfig, folder: Path, seeds: Mapping[str, Sequence[int]] | None = None) -> Gathered:
    """Reads the results of a finished comparison.

    Args:
        config: the comparison.
        folder: where it is kept.
        seeds: by arm, those that it got; None = all of them.

    Raises:
        UserError: a result is missing.
    """
    whole, costs = config.train.optimiser.steps, read_costs(folder)

    def read(arm: str, steps: int) -> Runs:
        return Runs.read(folder, arm, config.seeds if seeds is None else seeds[arm], steps)

    shares: dict[str, dict[float, Runs]] = {}
    for arm in config.arms:
        steps = {steps_at(config, costs, arm, share) for share in (*config.cost_shares, 1.0)} | {whole}
        shares[arm] = {
            count / whole if arm == CONTROL else costs[arm].share(count, whole): read(arm, count)
            for count in sorted(steps)
        }
    budgets = {
        EQUAL_COST: {arm: read(arm, steps_at(config, costs, arm)) for arm in config.others},
        EQUAL_STEPS: {arm: read(arm, whole) for arm in config.others},
    }
    return Gathered(read(CONTROL, whole), budgets, shares, {arm: costs[arm] for arm in config.others})
