"""Paired trainings at steps that are known beforehand, for benchmarks that need no more of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sadm.experiments.cost import ArmCost
    from sadm.experiments.runs import Runs


def train_all(config: Any, folder: Path, steps: dict[str, int]) -> dict[str, float]:
    """Trains and judges each arm with each seed, two at a time, as a comparison does; returns the judges' floor."""
    from sadm.core.config import write_yaml
    from sadm.core.files import make_folder
    from sadm.core.progress import ConsoleReporter
    from sadm.evaluation import Evaluator
    from sadm.experiments.config import CompareConfig
    from sadm.experiments.devices import devices_for
    from sadm.experiments.plan import RunJob
    from sadm.experiments.pool import Pool
    from sadm.training.run import split_for

    write_yaml(make_folder(folder) / CompareConfig.FILE, config)
    jobs = [RunJob(arm, seed, count) for seed in config.seeds for arm, count in steps.items()]
    missing = [{"name": job.name, "run": vars(job)} for job in jobs if not job.is_complete(folder, config)]
    with ConsoleReporter() as reporter:
        Pool(folder, devices_for(config.train.device, config.jobs), reporter).run(missing, lambda name: [])
    return Evaluator(split_for(config.train).held_out).floor


def cost_beside(config: Any, folder: Path, arm: str) -> ArmCost:
    """What an arm's steps cost beside plain training's, measured once in a folder of `train_all`, as a comparison does."""
    from sadm.core.progress import ConsoleReporter
    from sadm.experiments.compare import COST_JOB
    from sadm.experiments.cost import read_costs
    from sadm.experiments.devices import devices_for
    from sadm.experiments.pool import Pool

    if arm not in read_costs(folder):
        with ConsoleReporter() as reporter:
            alone = devices_for(config.train.device, 1)
            Pool(folder, alone, reporter).run([{"name": COST_JOB, "measure": [arm]}], lambda name: [])
    return read_costs(folder)[arm]


def above_floor(runs: Runs, judge: str, floor: dict[str, float]) -> list[float]:
    """FD - floor of each run."""
    return [result["evaluation"]["fd"][judge] - floor[judge] for result in runs.results]


def seconds(result: dict[str, Any]) -> float:
    """CPU-seconds of a training with all that it needed."""
    return result["cpu_seconds"] + result["pretrain_cpu_seconds"]
