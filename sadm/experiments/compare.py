"""The engine behind ``sadm compare``: arms × seeds at equal steps and at equal cost, resumable run by run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sadm.core.config import Config, differences, write_yaml
from sadm.core.files import locked, make_folder, remove_leftovers, write_json
from sadm.core.progress import Reporter, Silent
from sadm.data import Split
from sadm.evaluation import Evaluator
from sadm.experiments.business import business_facts
from sadm.experiments.config import CONTROL, CompareConfig
from sadm.experiments.cost import read_costs
from sadm.experiments.devices import at_a_time
from sadm.experiments.engine import (
    PATIENCE,
    check_split,
    clock,
    evaluator_for,
    minutes_in,
    processor_minutes_in,
    refuse_changes,
    run_jobs,
    stored_config,
)
from sadm.experiments.hopeless import Hopeless, most_seeds
from sadm.experiments.images import IMAGES, checked_fingerprints
from sadm.experiments.plan import RunJob, expected_runs, planned_jobs, steps_at
from sadm.experiments.summary import summarise, write_outputs
from sadm.experiments.yardstick import Yardstick
from sadm.training.run import split_for

MAY_CHANGE = (
    "seeds", "per_class", "structure_metric", "audit", "downstream", "representation", "stop_hopeless", "judges", "cost_shares",
    "jobs", "lang", "train.log.", "train.data.workers", "train.data.latents", "business.",
)  # fmt: skip
FREE = ("log.", "data.workers", "data.latents")
COST_JOB = "cost"


def compare(config: CompareConfig, out: str | Path, reporter: Reporter | None = None) -> dict[str, Any]:
    """Runs a comparison, or what is left of it, and writes ``report.html``, ``summary.json`` and ``comparison.json``.

    Args:
        config: what to compare. Seeds, arms, samplers and shares of the cost may be added to a finished comparison, as may
            the judging class by class or by further judges and all that is measured on request; prices may be changed. Only
            what is missing is trained and judged.
        out: its folder.
        reporter: where progress is shown; None = nowhere.

    Returns:
        The content of ``comparison.json``.

    Raises:
        UserError: bad data or configuration, another comparison or other images in the folder, a full disk.
        InterruptedRun: stopped by Ctrl-C or SIGTERM, after saving.
    """
    folder, shown = Path(out), reporter or Silent()
    _check_folder(folder, config)
    split = split_for(config.train, shown)
    check_split(config, split, shown)
    fingerprints = checked_fingerprints(folder, config.KIND, split)
    evaluator = functools.cache(lambda: evaluator_for(config, split))
    with locked(make_folder(folder), "comparing", PATIENCE):
        remove_leftovers(folder, below=True)
        with clock(folder, at_a_time(config.train.device, config.jobs)):
            write_yaml(folder / config.FILE, config)
            write_json(folder / IMAGES, fingerprints)
            _run_jobs(config, folder, split, shown, evaluator)
            comparison, pictures = summarise(config, folder, split, evaluator())
        comparison["minutes_total"], spent = minutes_in(folder), processor_minutes_in(folder)
        if spent is not None:
            comparison["processor_minutes_total"] = spent
        comparison["business"] = business_facts(comparison, config.business)
        write_outputs(folder, comparison, pictures, config.lang)
    return comparison


def _run_jobs(
    config: CompareConfig, folder: Path, split: Split, reporter: Reporter, evaluator: Callable[[], Evaluator]
) -> None:
    unmeasured = [arm for arm in config.others if arm not in read_costs(folder)]
    hopeless = Hopeless(config, folder, Yardstick.of(evaluator())) if config.stop_hopeless else None
    stopped: set[str] = set()
    most: dict[str, int] = {}

    def planned() -> list[RunJob]:
        costs = read_costs(folder)
        if hopeless is None:
            return planned_jobs(config, costs)
        courses = hopeless.courses(costs)
        for arm, course in courses.items():
            if course.stop is not None and arm not in stopped:
                stopped.add(arm)
                reporter.say(
                    f"'{arm}' gets no further seeds after {course.stop.seeds} of {len(config.seeds)}: {course.stop.reason}."
                )
        most.update(most_seeds(courses, len(config.seeds)))
        return planned_jobs(config, costs, {arm: course.seeds for arm, course in courses.items()})

    def after(name: str) -> None:
        if name == COST_JOB:
            for arm in unmeasured:
                reporter.say(_equal_cost_note(config, folder, arm))

    first = [{"name": COST_JOB, "measure": unmeasured}] if unmeasured else []
    run_jobs(config, folder, split, reporter, planned, lambda: expected_runs(config, most), first, after)


def _equal_cost_note(config: CompareConfig, folder: Path, arm: str) -> str:
    """What the measurement of cost means for an arm."""
    costs, steps = read_costs(folder), config.train.optimiser.steps
    afforded = steps_at(config, costs, arm)
    note = f"Equal cost: {afforded} steps of '{arm}' where plain training makes {steps}."
    if costs[arm].pretraining > steps / 2:
        note += " Encoder pre-training takes most of so short a training; pre-train less or train longer."
    return note


def _check_folder(folder: Path, config: CompareConfig) -> None:
    """Refuses a folder with another comparison: what is stored may be added to, but not changed."""
    stored = stored_config(folder, CompareConfig)
    if stored is None:
        return
    named: dict[str, Any] = {"arms": {}, "samplers": {}}  # compared one by one below
    changed = differences(config.model_copy(update=named), stored.model_copy(update=named), ignoring=MAY_CHANGE)
    if not changed:
        changed = [
            *_changed_entries("arms", _arms(config), _arms(stored)),
            *_changed_entries("samplers", _samplers(config), _samplers(stored)),
        ]
    refuse_changes(folder, config.KIND, changed)


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
