"""The engine behind ``sadm compare``: arms × seeds at equal steps and at equal cost, resumable run by run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from sadm.core.config import Config, build_config, differences, read_yaml, write_yaml
from sadm.core.errors import UserError
from sadm.core.files import make_folder, read_json, refuse_foreign_folder, write_json
from sadm.core.progress import Reporter, Silent
from sadm.data import Split
from sadm.evaluation import HeldOutParts, network_judges
from sadm.evaluation.downstream import check
from sadm.experiments.config import CONTROL, CompareConfig
from sadm.experiments.cost import read_costs
from sadm.experiments.plan import LATENTS, expected_runs, planned_jobs, steps_at
from sadm.experiments.pool import Pool
from sadm.experiments.summary import summarise, write_outputs
from sadm.training.run import split_for
from sadm.training.training_set import check_sizes, training_set

CONFIG, CLOCK = "compare.yaml", "minutes.json"
MAY_CHANGE = (
    "seeds", "per_class", "downstream", "representation", "judges", "cost_shares", "jobs", "lang", "train.log.",
    "train.data.workers", "train.data.latents",
)  # fmt: skip
FREE = ("log.", "data.workers", "data.latents")
COST_JOB = "cost"
FEW = 50


def compare(config: CompareConfig, out: str | Path, reporter: Reporter | None = None) -> dict[str, Any]:
    """Runs a comparison, or what is left of it, and writes ``report.html``, ``summary.json`` and ``comparison.json``.

    Args:
        config: what to compare. Seeds, arms, samplers and shares of the cost may be added to a finished comparison, as may
            the judging class by class or by further judges, downstream gain and representation; only what is missing is trained
            and judged.
        out: its folder.
        reporter: where progress is shown; None = nowhere.

    Returns:
        The content of ``comparison.json``.

    Raises:
        UserError: bad data or configuration, another comparison in the folder, a full disk.
        InterruptedRun: stopped by Ctrl-C or SIGTERM, after saving.
    """
    folder, shown = Path(out), reporter or Silent()
    _check_folder(folder, config)
    split = split_for(config.train, shown)
    _check_split(config, split, shown)
    with _clock(make_folder(folder)):
        write_yaml(folder / CONFIG, config)
        _run_jobs(config, folder, split, shown)
        comparison, pictures = summarise(config, folder, split)
    comparison["minutes_total"] = read_json(folder / CLOCK)["minutes"]
    write_outputs(folder, comparison, pictures, config.lang)
    return comparison


def _run_jobs(config: CompareConfig, folder: Path, split: Split, reporter: Reporter) -> None:
    unmeasured = [arm for arm in config.others if arm not in read_costs(folder)]
    started: set[str] = set()

    def unfinished() -> list[dict[str, Any]]:
        jobs = [
            job
            for job in planned_jobs(config, read_costs(folder))
            if job.name not in started and not job.is_complete(folder, config)
        ]
        started.update(job.name for job in jobs)
        return [{"name": job.name, "run": vars(job)} for job in jobs]

    def after(name: str) -> list[dict[str, Any]]:
        finished = sum(job.is_complete(folder, config) for job in planned_jobs(config, read_costs(folder)))
        reporter.update("runs", finished, max(expected_runs(config), finished))
        if name != COST_JOB:
            return []
        for arm in unmeasured:
            reporter.say(_equal_cost_note(config, folder, arm))
        return unfinished()

    first = [{"name": COST_JOB, "measure": unmeasured}] if unmeasured else []
    jobs = [*first, *unfinished()]
    if jobs:
        training_set(config.train, split.train, folder / LATENTS, reporter)  # images are encoded once, for all runs
    Pool(folder, config.jobs, reporter).run(jobs, after)


def _equal_cost_note(config: CompareConfig, folder: Path, arm: str) -> str:
    """What the measurement of cost means for an arm."""
    costs, steps = read_costs(folder), config.train.optimiser.steps
    afforded = steps_at(config, costs, arm)
    note = f"Equal cost: {afforded} steps of '{arm}' where plain training makes {steps}."
    if costs[arm].pretraining > steps / 2:
        note += " Encoder pre-training takes most of so short a training; pre-train less or train longer."
    return note


def _check_split(config: CompareConfig, split: Split, reporter: Reporter) -> None:
    """Refuses what can't be judged or built before anything is written."""
    parts = HeldOutParts.of(split.held_out)
    if len(parts.reference) < FEW:
        reporter.say(
            f"Only {len(parts.reference)} held-out images serve as reference: expect wide intervals. "
            "More images, or a larger --train.data.held-out, make the judges surer."
        )
    if config.per_class and split.train.labels is None:
        raise UserError(
            f"{config.train.data.source} has no classes, so nothing can be judged class by class. Leave out --per-class, or "
            "give a folder with one folder for each class."
        )
    if config.downstream or config.representation:
        check(split.train, parts.floor)
    for judge in network_judges(config.judges, config.train.device):
        judge.features(split.held_out.subset(torch.arange(1)))  # refused now, not after the first training
    for arm in config.arms:
        check_sizes(config.arm_config(arm, config.seeds[0]), split.train)


def _check_folder(folder: Path, config: CompareConfig) -> None:
    """Refuses a folder with another comparison: what is stored may be added to, but not changed."""
    refuse_foreign_folder(folder, CONFIG, "comparison")
    path = folder / CONFIG
    if not path.exists():
        return
    stored = build_config(CompareConfig, read_yaml(path), str(path))
    named: dict[str, Any] = {"arms": {}, "samplers": {}}  # compared one by one below
    changed = differences(config.model_copy(update=named), stored.model_copy(update=named), ignoring=MAY_CHANGE)
    if not changed:
        changed = [
            *_changed_entries("arms", _arms(config), _arms(stored)),
            *_changed_entries("samplers", _samplers(config), _samplers(stored)),
        ]
    if changed:
        raise UserError(
            f"{folder} holds another comparison ({'; '.join(changed)}). Choose another --out, or give the stored values."
        )


def _arms(config: CompareConfig) -> dict[str, Config]:
    return {arm: config.arm_config(arm, seed=0) for arm in config.arms}


def _samplers(config: CompareConfig) -> dict[str, Config]:
    return {name: config.sampling(CONTROL, name) for name in config.samplers}


def _changed_entries(kind: str, given: Mapping[str, Config], stored: Mapping[str, Config]) -> list[str]:
    """Named entries that were changed or taken away; further ones do no harm."""
    changed = []
    for name, config in stored.items():
        if name in given:
            changed += [f"{kind}.{name}.{line}" for line in differences(given[name], config, ignoring=FREE)]
        else:
            changed.append(f"{kind}: stored with '{name}', given without")
    return changed


@contextmanager
def _clock(folder: Path) -> Iterator[None]:
    """Adds up the minutes of all sessions."""
    path = folder / CLOCK
    before = read_json(path)["minutes"] if path.exists() else 0.0
    start = time.monotonic()
    try:
        yield
    finally:
        write_json(path, {"minutes": round(before + (time.monotonic() - start) / 60, 3)})
