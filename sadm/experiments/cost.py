"""What a step of each arm costs, and how many steps an arm gets for the control's money.

Processor time, not wall-clock time; arms run in turn in short slices, so that a slow minute hurts all alike, and rounds that
something else on the machine disturbed are left out. They are not trimmed by rank: an arm whose signal ends early, or acts in
every k-th step only, has few dear slices, and trimming would take away just these.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sadm.core.devices import spent_seconds
from sadm.core.errors import DivergedError, UserError
from sadm.core.files import read_json, write_json
from sadm.core.progress import Reporter, Silent
from sadm.core.stopping import StopRequest
from sadm.experiments.config import CONTROL, CompareConfig
from sadm.training.config import TrainConfig
from sadm.training.latents import TrainingSet
from sadm.training.learner import Learner
from sadm.training.prior import Prior, draw_prior
from sadm.training.signals import prepare_signals
from sadm.training.spec import ModelSpec, spec_for
from sadm.training.starting import process_of

COST_FILE = "cost.json"
SLICE = 5
WARM = 3
DISTURBED = 3.0  # a slice that took this many times the median of its arm was disturbed


@dataclasses.dataclass(frozen=True)
class ArmCost:
    """What an arm costs, and what the control costs that ran beside it.

    Attributes:
        step_ratio: cost of a step over that of a control's step, on average over the arm's whole schedule.
        control_cpu_seconds_per_step: the control's, likewise.
        pretrain_cpu_seconds: encoder pre-training, once a run.
        control_pretrain_cpu_seconds: the control's; usually 0.
        steps_measured: steps of the arm in this measurement. 0 where it diverged at once: its cost then counts as the control's.
    """

    step_ratio: float
    control_cpu_seconds_per_step: float
    pretrain_cpu_seconds: float
    control_pretrain_cpu_seconds: float
    steps_measured: int

    def equal_cost_steps(self, control_steps: float) -> int:
        """Steps of the arm that cost, pre-training included, at most what `control_steps` of the control cost; at least 1."""
        return max(1, math.floor((self._budget(control_steps) - self.pretraining) / self.step_ratio))

    def share(self, steps: int, control_steps: int) -> float:
        """Cost of `steps` of the arm over that of `control_steps` of the control, pre-training included."""
        return (steps * self.step_ratio + self.pretraining) / self._budget(control_steps)

    @property
    def pretraining(self) -> float:
        """Cost of encoder pre-training, in steps of the control."""
        return self.pretrain_cpu_seconds / self.control_cpu_seconds_per_step

    def _budget(self, control_steps: float) -> float:
        return control_steps + self.control_pretrain_cpu_seconds / self.control_cpu_seconds_per_step


def read_costs(folder: Path) -> dict[str, ArmCost]:
    """The stored measurements of a comparison, by arm; empty before the first."""
    path = folder / COST_FILE
    stored: dict[str, dict[str, Any]] = read_json(path) if path.exists() else {}
    return {arm: ArmCost(**values) for arm, values in stored.items()}


def store_costs(folder: Path, costs: dict[str, ArmCost]) -> None:
    """Adds measurements to those that are stored."""
    known = {**read_costs(folder), **costs}
    write_json(folder / COST_FILE, {arm: dataclasses.asdict(cost) for arm, cost in known.items()})


def measure_costs(
    config: CompareConfig, arms: Sequence[str], images: TrainingSet, reporter: Reporter
) -> dict[str, ArmCost]:
    """Trains the control and `arms` for `config.cost_steps` steps, schedules shortened to that, in interleaved slices.

    An arm that diverges on the way is measured up to there.

    Args:
        config: the comparison.
        arms: other arms than the control.
        images: the training images, or their latents.
        reporter: told about progress.

    Raises:
        UserError: the control diverged at once.
    """
    learners: dict[str, Learner] = {}
    pretraining: dict[str, float] = {}
    for arm in (CONTROL, *arms):
        short = config.arm_config(arm, config.seeds[0], steps=config.cost_steps + WARM)
        # Batches made ahead in other threads would be charged to the arm whose turn it is.
        short = short.model_copy(update={"data": short.data.model_copy(update={"workers": 0})})
        once = short.structure.model_copy(update={"encoder_steps": 1})
        prepare_signals(short.model_copy(update={"structure": once}), images, Silent())  # first calls are slow
        prepared = prepare_signals(short, images, reporter)
        spec = spec_for(images, short.net, process_of(short), short.data)
        prior = _prior(short, spec, reporter)
        pretraining[arm] = prepared.pretrain_cpu_seconds + (0.0 if prior is None else prior.cpu_seconds)
        learners[arm] = Learner(short, images, spec, prepared.signals, prior)
    slices = _slices(learners, config.cost_steps, reporter)
    control = np.array(slices[CONTROL])
    if not len(control):
        raise UserError(
            f"'{CONTROL}' diverged within its first {WARM + SLICE} steps, so there is nothing to compare with. Lower "
            f"--train.optimiser.learning-rate (now {config.train.optimiser.learning_rate})."
        )
    return {
        arm: ArmCost(
            step_ratio=step_ratio(slices[arm], slices[CONTROL]),
            control_cpu_seconds_per_step=mean_undisturbed(control) / SLICE,
            pretrain_cpu_seconds=pretraining[arm],
            control_pretrain_cpu_seconds=pretraining[CONTROL],
            steps_measured=SLICE * min(len(slices[arm]), len(slices[CONTROL])),
        )
        for arm in arms
    }


def _prior(config: TrainConfig, spec: ModelSpec, reporter: Reporter) -> Prior | None:
    """The images of the source that an arm learns from, too; what they cost is charged to it."""
    return draw_prior(config, spec, None, reporter, StopRequest()) if config.prior.images else None


def step_ratio(slices: Sequence[float], control: Sequence[float]) -> float:
    """Cost of a step over that of a control's step, from the seconds of slices that ran in turn; 1 where there are none."""
    count = min(len(slices), len(control))
    if not count:
        return 1.0
    own, other = np.array(slices[:count]), np.array(control[:count])
    kept = _undisturbed(own) & _undisturbed(other)  # never empty: less than half of each is above its median
    return float(own[kept].sum() / other[kept].sum())


def mean_undisturbed(slices: Sequence[float] | np.ndarray) -> float:
    """Mean of the slices that nothing disturbed."""
    taken = np.asarray(slices)
    return float(taken[_undisturbed(taken)].mean())


def _undisturbed(slices: np.ndarray) -> np.ndarray:
    return slices <= DISTURBED * np.median(slices)


def _slices(learners: dict[str, Learner], steps: int, reporter: Reporter) -> dict[str, list[float]]:
    """Seconds of each slice, by arm; fewer for an arm that diverged."""
    running = {arm: learner for arm, learner in learners.items() if _advance(learner, WARM)}  # first calls are slow
    slices: dict[str, list[float]] = {arm: [] for arm in learners}
    for done in range(SLICE, steps + 1, SLICE):
        for arm, learner in list(running.items()):
            start = spent_seconds(learner.device)
            if _advance(learner, SLICE):
                slices[arm].append(spent_seconds(learner.device) - start)
            else:
                del running[arm]
        reporter.update("per step", done, steps)
    return slices


def _advance(learner: Learner, count: int) -> bool:
    """Trains for `count` steps; False where that diverged."""
    try:
        for _ in range(count):
            learner.advance()
    except DivergedError:
        return False
    return True
