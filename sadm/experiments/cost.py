"""What a step of each arm costs, and how many steps the dearer arm gets for the same money.

Processor time, not wall-clock time; arms run in turn in short slices, so that a slow minute hurts all alike, and slices that
something else on the machine disturbed are trimmed.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from scipy.stats import trim_mean

from sadm.core.devices import spent_seconds
from sadm.core.progress import Reporter
from sadm.data import ImageSet
from sadm.experiments.config import CONTROL, CompareConfig
from sadm.training.learner import Learner
from sadm.training.model_folder import spec_for
from sadm.training.signals import prepare_signals

SLICE = 5
WARM = 3
TRIMMED = 0.1


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of training, by arm.

    Attributes:
        cpu_seconds_per_step: mean over the arm's whole schedule; for an arm other than the control, the control's times the
            trimmed mean of the ratios of neighbouring slices.
        pretrain_cpu_seconds: encoder pre-training, once a run.
        steps_measured: steps of each arm.
    """

    cpu_seconds_per_step: dict[str, float]
    pretrain_cpu_seconds: dict[str, float]
    steps_measured: int

    def equal_cost_steps(self, arm: str, control_steps: int) -> int:
        """Steps of `arm` that cost, pre-training included, at most what `control_steps` of the control cost; at least 1."""
        budget = control_steps * self.cpu_seconds_per_step[CONTROL]
        return max(1, math.floor((budget - self.pretrain_cpu_seconds[arm]) / self.cpu_seconds_per_step[arm]))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


def measure_cost(config: CompareConfig, images: ImageSet, reporter: Reporter) -> Cost:
    """Trains every arm for `config.cost_steps` steps with its schedule shortened to that, in interleaved slices.

    Args:
        config: the comparison.
        images: the training images.
        reporter: told about progress.
    """
    learners: dict[str, Learner] = {}
    pretraining: dict[str, float] = {}
    for arm in config.arms:
        short = config.arm_config(arm, config.seeds[0], steps=config.cost_steps + WARM)
        prepared = prepare_signals(short, images, reporter)
        pretraining[arm] = prepared.pretrain_cpu_seconds
        learners[arm] = Learner(short, images, spec_for(images, short.net, short.process.sigma_data), prepared.signals)
    for learner in learners.values():
        _advance(learner, WARM)  # first calls allocate and choose kernels
    slices: dict[str, list[float]] = {arm: [] for arm in learners}
    for done in range(SLICE, config.cost_steps + 1, SLICE):
        for arm, learner in learners.items():
            start = spent_seconds(learner.device)
            _advance(learner, SLICE)
            slices[arm].append(spent_seconds(learner.device) - start)
        reporter.update("cost per step", done, config.cost_steps)
    return Cost(per_step(slices), pretraining, config.cost_steps)


def per_step(slices: dict[str, list[float]]) -> dict[str, float]:
    """Seconds a step from the seconds of interleaved slices, by arm; see `Cost`."""
    control = np.array(slices[CONTROL])
    base = float(trim_mean(control, TRIMMED)) / SLICE
    return {arm: base * float(trim_mean(np.array(times) / control, TRIMMED)) for arm, times in slices.items()}


def _advance(learner: Learner, count: int) -> None:
    for _ in range(count):
        learner.advance()
