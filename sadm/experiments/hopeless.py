"""Early stop of hopeless arms: which arms get no further seeds, by a rule on the results of the seeds in their order.

After each paired seed from the third on, an arm is looked at. It is stopped where the interval of its ratio to plain training
at equal cost lies wholly above 1 in every deciding judge. Looking again and again would stop a good arm some day by chance, so
look k = 1, 2, … has an error of its own, `ERROR` / (k (k + 1)): all looks together, however many follow, have `ERROR`, half of
it on the side that matters (a union bound; Student's intervals are taken as exact). The error of a look does not depend on the
number of seeds, so that adding some changes no earlier decision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sadm.core.intervals import Interval
from sadm.experiments.config import CONTROL, CompareConfig
from sadm.experiments.cost import ArmCost
from sadm.experiments.plan import RunJob, steps_at
from sadm.experiments.runs import Result, Runs
from sadm.experiments.statistics import DIVERGED, paired_ratio
from sadm.experiments.yardstick import Yardstick

FIRST_LOOK = 3
"""Paired seeds before an arm can be stopped."""
ERROR = 0.01
WORSE = "worse in every deciding judge"


@dataclasses.dataclass(frozen=True)
class Stop:
    """Why an arm gets no further seeds.

    Attributes:
        seeds: how many it got.
        reason: `WORSE`, or that each of its trainings diverged.
        confidence: level of the intervals.
        ratios: by deciding judge, its ratio to plain training; empty where it diverged.
    """

    seeds: int
    reason: str
    confidence: float
    ratios: Mapping[str, Interval] = dataclasses.field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "ratios": {judge: ratio.as_dict() for judge, ratio in self.ratios.items()}}


def confidence_after(seeds: int) -> float:
    """Level of the intervals of the look after so many seeds, of which there are `FIRST_LOOK` at least."""
    look = seeds - FIRST_LOOK + 1
    return 1 - ERROR / (look * (look + 1))


def stop_after(own: Mapping[str, Sequence[float]], control: Mapping[str, Sequence[float]]) -> Stop | None:
    """Whether an arm is stopped after these seeds, and none before.

    Args:
        own: FD - floor of the arm by deciding judge, one for each seed.
        control: likewise of plain training.
    """
    count = len(next(iter(own.values())))
    if count < FIRST_LOOK:
        return None
    level = confidence_after(count)
    ratios = {judge: paired_ratio(values, control[judge], level) for judge, values in own.items()}
    known = {judge: ratio for judge, ratio in ratios.items() if isinstance(ratio, Interval)}
    hopeless = len(known) == len(ratios) and all((ratio.low or 0) > 1 for ratio in known.values())
    return Stop(count, WORSE, level, known) if hopeless else None


@dataclasses.dataclass(frozen=True)
class Course:
    """How far an arm has come.

    Attributes:
        seeds: those that it gets, as far as that is known: all before the next look.
        stop: why it gets no more; None where it goes on.
    """

    seeds: tuple[int, ...]
    stop: Stop | None = None


def most_seeds(courses: Mapping[str, Course], seeds: int) -> dict[str, int]:
    """By arm, how many of `seeds` seeds it gets at most."""
    most = {arm: seeds if course.stop is None else course.stop.seeds for arm, course in courses.items()}
    return {**most, CONTROL: max(count for arm, count in most.items() if arm != CONTROL)}


class Hopeless:
    """Decides from stored results which arms go on; the same results give the same decisions.

    Args:
        config: the comparison.
        folder: where results are kept.
        yardstick: floor and deciding judges.
    """

    def __init__(self, config: CompareConfig, folder: Path, yardstick: Yardstick) -> None:
        self.config, self.folder, self.yardstick = config, folder, yardstick

    def courses(self, costs: Mapping[str, ArmCost]) -> dict[str, Course]:
        """By arm, the seeds that it gets; the control gets those of the arm that gets most."""
        others = {arm: self._course(arm, costs) for arm in self.config.others}
        longest = max((course.seeds for course in others.values()), key=len)
        return {arm: Course(longest) if arm == CONTROL else others[arm] for arm in self.config.arms}

    def _course(self, arm: str, costs: Mapping[str, ArmCost]) -> Course:
        """Seeds up to the look that stops the arm, or to the next look whose runs are not all judged yet."""
        seeds = tuple(self.config.seeds)
        if arm not in costs:
            return Course(seeds[:FIRST_LOOK])
        steps = {arm: steps_at(self.config, costs, arm), CONTROL: self.config.train.optimiser.steps}
        jobs: dict[str, list[RunJob]] = {name: [] for name in steps}
        found: dict[str, list[Result]] = {name: [] for name in steps}
        for count, seed in enumerate(seeds, 1):
            for name in steps:
                job = RunJob(name, seed, steps[name])
                result = job.read_result(self.folder)
                if result is None or not self._is_judged(result):
                    return Course(seeds[: max(FIRST_LOOK, count)])
                jobs[name].append(job)
                found[name].append(result)
            if FIRST_LOOK <= count < len(seeds):
                own, control = (Runs(tuple(jobs[name]), tuple(found[name])) for name in (arm, CONTROL))
                stop = self._stop(own, control)
                if stop is not None:
                    return Course(seeds[:count], stop)
        return Course(seeds)

    def _stop(self, own: Runs, control: Runs) -> Stop | None:
        if control.diverged:
            return None
        if own.diverged:
            count = len(own.jobs)
            return Stop(count, DIVERGED, confidence_after(count)) if len(own.diverged) == count else None
        return stop_after(self.yardstick.excess(own), self.yardstick.excess(control))

    def _is_judged(self, result: Result) -> bool:
        return result["diverged"] or (
            "evaluation" in result and set(self.yardstick.deciding) <= result["evaluation"]["fd"].keys()
        )
