"""Paired trainings at steps that are known beforehand, for benchmarks that need no more of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import change

if TYPE_CHECKING:
    from sadm.experiments.config import CompareConfig
    from sadm.experiments.cost import ArmCost
    from sadm.experiments.runs import Runs


def train_all(config: Any, folder: Path, steps: dict[str, int]) -> dict[str, float]:
    """Trains and judges each arm with each seed, two at a time, as a comparison does; returns the judges' floor."""
    from sadm.core.progress import ConsoleReporter
    from sadm.evaluation import Evaluator
    from sadm.experiments.devices import devices_for
    from sadm.experiments.plan import RunJob
    from sadm.experiments.pool import Pool
    from sadm.training.run import split_for

    _write_config(config, folder)
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
        _write_config(config, folder)
        with ConsoleReporter() as reporter:
            alone = devices_for(config.train.device, 1)
            Pool(folder, alone, reporter).run([{"name": COST_JOB, "measure": [arm]}], lambda name: [])
    return read_costs(folder)[arm]


def _write_config(config: CompareConfig, folder: Path) -> None:
    """Writes what the workers read; a folder whose trainings were of other settings is refused."""
    from sadm.core.config import read_yaml, write_yaml
    from sadm.core.files import make_folder

    path = make_folder(folder) / config.FILE
    if path.exists():
        before, now = read_yaml(path), config.model_dump(mode="json")
        arms = before["arms"].keys() & now["arms"].keys()
        if before["train"] != now["train"] or any(before["arms"][arm] != now["arms"][arm] for arm in arms):
            raise SystemExit(
                f"{folder} holds trainings with other settings; remove it, and run the same command again."
            )
    write_yaml(path, config)


def rows_of_arms(config: Any, folder: Path, steps: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Trains these arms with each seed, each for its steps; by arm `row_of_arm`."""
    floor = train_all(config, folder, steps)
    return {arm: row_of_arm(folder, arm, config.seeds, count, floor) for arm, count in steps.items()}


def row_of_arm(folder: Path, arm: str, seeds: Sequence[int], steps: int, floor: dict[str, float]) -> dict[str, Any]:
    """FD - floor seed by seed and judge by judge, and CPU-seconds; which seeds diverged."""
    from sadm.experiments.runs import Runs

    runs = Runs.read(folder, arm, seeds, steps)
    excess = {} if runs.diverged else {judge: above_floor(runs, judge, floor) for judge in floor}
    return {"excess": excess, "cpu_seconds": [seconds(r) for r in runs.finished], "diverged": runs.diverged}


def ratio(rows: dict[str, Any], arm: str, other: str, judge: str) -> dict[str, Any]:
    """FD - floor of an arm over that of another, seed by seed, as `paired_ratio` gives it."""
    from sadm.experiments.statistics import paired_ratio

    own, others = (rows[name]["excess"].get(judge) for name in (arm, other))
    return (
        {"mean": None, "reason": "diverged"} if own is None or others is None else paired_ratio(own, others).as_dict()
    )


def ratios_by_seed(rows: dict[str, Any], arm: str, other: str) -> dict[str, list[float]]:
    """By judge the ratios of FD - floor seed by seed; without judges at whose floor a training is."""
    found = {judge: ratio(rows, arm, other, judge) for judge in rows[arm]["excess"]}
    return {judge: one["values"] for judge, one in found.items() if "values" in one}


def with_interval(found: dict[str, Any]) -> str:
    """A ratio as a change in percent, with its interval."""
    shown = change(found["mean"], found.get("reason", ""))
    return shown if found.get("low") is None else f"{shown} ({change(found['low'])} to {change(found['high'])})"


def above_floor(runs: Runs, judge: str, floor: dict[str, float]) -> list[float]:
    """FD - floor of each run."""
    return [result["evaluation"]["fd"][judge] - floor[judge] for result in runs.results]


def seconds(result: dict[str, Any]) -> float:
    """CPU-seconds of a training with all that it needed."""
    return result["cpu_seconds"] + result["pretrain_cpu_seconds"]
