"""The pieces of a comparison that run on their own: one measurement of cost, and one training with its evaluation a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from sadm.core.devices import spent_seconds
from sadm.core.files import read_json, write_json
from sadm.core.progress import Reporter
from sadm.core.provenance import peak_memory_mib, provenance
from sadm.evaluation import Evaluator
from sadm.experiments.config import CompareConfig
from sadm.experiments.cost import Cost, measure_cost
from sadm.training.model_folder import load_model
from sadm.training.run import split_for, train

COST_FILE, RUNS, RESULT = "cost.json", "runs", "result.json"


@dataclasses.dataclass(frozen=True)
class RunJob:
    """One training run of a comparison.

    Attributes:
        arm: its name.
        seed: of the run.
        steps: training steps.
    """

    arm: str
    seed: int
    steps: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.arm}-{self.steps}-steps-seed-{self.seed}"

    def result_path(self, folder: Path) -> Path:
        """Where its result is, once there is one."""
        return folder / RUNS / self.name / RESULT

    def read_result(self, folder: Path) -> dict[str, Any]:
        """Its stored result."""
        return read_json(self.result_path(folder))


def read_cost(folder: Path) -> Cost:
    """The stored measurement of cost."""
    return Cost(**read_json(folder / COST_FILE))


class Laboratory:
    """Carries out jobs; images, judges and reference statistics are prepared once and serve them all.

    Args:
        config: the comparison.
        folder: where it is kept.
        reporter: told about progress.
    """

    def __init__(self, config: CompareConfig, folder: Path, reporter: Reporter) -> None:
        self.config, self.folder, self.reporter = config, folder, reporter
        self.split = split_for(config.train)
        self._evaluator: Evaluator | None = None

    @property
    def evaluator(self) -> Evaluator:
        """Judges and reference, fitted at first use."""
        if self._evaluator is None:
            self._evaluator = Evaluator(self.split.held_out)
        return self._evaluator

    def measure_cost(self) -> None:
        """Measures what a step costs and stores it."""
        write_json(self.folder / COST_FILE, measure_cost(self.config, self.split.train, self.reporter).as_dict())

    def run(self, job: RunJob) -> None:
        """Trains, samples, judges and stores the result.

        Raises:
            InterruptedRun: stopped in training, after saving.
        """
        out = self.folder / RUNS / job.name
        config = self.config.arm_config(job.arm, job.seed, job.steps)
        trained = train(config, out, self.reporter, self.split.train)
        model = load_model(out, config.device)
        count = self.evaluator.group * self.config.groups
        labels = model.training_labels(count, job.seed)
        start = spent_seconds(model.device)
        images = model.sample(count, job.seed, labels)
        sampling_seconds = spent_seconds(model.device) - start
        result = {
            "arm": job.arm,
            "seed": job.seed,
            "steps": trained.steps,
            "cpu_seconds": trained.cpu_seconds,
            "pretrain_cpu_seconds": trained.pretrain_cpu_seconds,
            "encoder_score": trained.encoder_score,
            "sample_ms_per_image": 1000 * sampling_seconds / count,
            "parameters": sum(parameter.numel() for parameter in model.denoiser.parameters()),
            "evaluation": self.evaluator.evaluate(images, labels).as_dict(),
            "memory_mib": peak_memory_mib(),
            "provenance": provenance(),
        }
        write_json(job.result_path(self.folder), result)
