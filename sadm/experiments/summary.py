"""From stored results to ``comparison.json``, ``summary.json`` and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sadm.core.config import flatten
from sadm.core.files import write_atomically, write_json
from sadm.core.grids import grid_png
from sadm.core.provenance import peak_memory_mib, provenance
from sadm.data import Split
from sadm.diffusion import SOLVERS, solver_nfe
from sadm.evaluation import Evaluator
from sadm.experiments import tables
from sadm.experiments.config import CONTROL, CompareConfig, Experiment
from sadm.experiments.cost import read_costs
from sadm.experiments.devices import at_a_time
from sadm.experiments.engine import evaluator_for
from sadm.experiments.hopeless import Course, Hopeless
from sadm.experiments.measured import measured
from sadm.experiments.plan import GRID_IMAGES, MEASUREMENTS, RunJob
from sadm.experiments.report import Pictures, render_report
from sadm.experiments.report.verdict import verdict_sentence
from sadm.experiments.runs import EQUAL_COST, Gathered, gather
from sadm.experiments.samples import sample_pictures
from sadm.experiments.statistics import outcome
from sadm.experiments.yardstick import Yardstick
from sadm.training.config import SamplingConfig
from sadm.training.grid import grid_columns
from sadm.training.journal import read_metrics

REPORT, SUMMARY, COMPARISON, SAMPLES = "report.html", "summary.json", "comparison.json", "samples.png"
GRID_TITLES = {"karras": "EDM grid", "native": "native grid"}
RULE = (
    "An arm wins when the 95 % interval of the mean log-ratio of (FD - floor) over paired seeds, at equal cost, lies on its side "
    "of 1 in every deciding judge."
)


def summarise(
    config: CompareConfig, folder: Path, split: Split, evaluator: Evaluator | None = None
) -> tuple[dict[str, Any], Pictures]:
    """Everything that the report shows, from the stored results of a finished comparison on the images of `split`.

    Args:
        config: the comparison.
        folder: where it is kept.
        split: its images.
        evaluator: its judges, where there are some already.
    """
    evaluator = evaluator or evaluator_for(config, split)
    courses = _courses(config, folder, evaluator)
    runs = gather(config, folder, {arm: course.seeds for arm, course in courses.items()} if courses else None)
    judges, floor, steps = evaluator.describe(), evaluator.floor, config.train.optimiser.steps
    ratios = tables.ratios(runs, floor)
    processes = at_a_time(config.train.device, config.jobs)
    deciding = [ratios[EQUAL_COST][config.treatment][name] for name, facts in judges.items() if facts["decides"]]
    comparison: dict[str, Any] = {
        "title": config.train.data.source,
        "data": data_facts(config, split),
        "judges": judges,
        "floor": floor,
        **tables.by_arm(runs, lambda found: tables.arm_facts(found, floor)),
        "cost": tables.cost_facts(runs, steps),
        "ratios": tables.as_json(ratios),
        "verdict": {"treatment": config.treatment, "outcome": outcome(deciding)},
        "curves": {arm: _curves(RunJob(arm, config.seeds[0], steps).folder(folder)) for arm in config.arms},
        "protocol": _protocol(config, evaluator),
        "provenance": {**provenance(), "threads": 1, "processes": processes},
        "memory_mib": _memory(runs, processes),
    }
    if config.samplers:
        comparison["samplers"] = {name: _sampler(config, runs, name, floor) for name in config.samplers}
    if config.cost_shares:
        comparison["cost_to_plain"] = tables.cost_to_plain(runs, floor)
        comparison["cost_points"] = tables.cost_points(runs, floor)
    if config.per_class:
        comparison["real"] = evaluator.real_coverage
        comparison["per_class"] = tables.per_class(runs, evaluator, split)
    stopped = {arm: course.stop.as_dict() for arm, course in courses.items() if course.stop is not None}
    if stopped:
        comparison["stopped"] = stopped
    comparison |= measured(config, runs, evaluator)
    comparison["verdict"]["sentence"] = verdict_sentence(comparison, "en")
    return comparison, sample_pictures(config, folder, {CONTROL: runs.control, **runs.budgets[EQUAL_COST]}, split)


def write_outputs(folder: Path, comparison: dict[str, Any], pictures: Pictures, lang: str) -> None:
    """Writes the full numbers, the summary, the sample grid and the report."""
    write_json(folder / COMPARISON, comparison)
    write_json(folder / SUMMARY, short_summary(comparison))
    columns = grid_columns(len(comparison["data"]["classes"]), GRID_IMAGES)
    rows = [pictures.real[:columns], *(samples[: 3 * columns] for samples in pictures.samples.values())]
    write_atomically(folder / SAMPLES, grid_png(np.concatenate(rows), columns))
    write_atomically(folder / REPORT, render_report(comparison, pictures, lang))


def short_summary(comparison: dict[str, Any]) -> dict[str, Any]:
    """What a program needs to know: arms, floor, ratios, verdict, decision, minutes; class by class, see ``comparison.json``."""
    parts = ("arms", "equal_steps", "floor", "ratios", "stopped", "cost_to_plain", "real", *MEASUREMENTS)
    samplers = {name: facts["ratios"] for name, facts in comparison.get("samplers", {}).items()}
    return {
        **{part: comparison[part] for part in parts if part in comparison},
        **({"sampler_ratios": samplers} if samplers else {}),
        "treatment": comparison["verdict"]["treatment"],
        "outcome": comparison["verdict"]["outcome"],
        "verdict": comparison["verdict"]["sentence"],
        **({"decision": comparison["business"]["decision"]} if "business" in comparison else {}),
        "minutes_total": comparison["minutes_total"],
    }


def _courses(config: CompareConfig, folder: Path, evaluator: Evaluator) -> dict[str, Course]:
    """By arm, the seeds that it got, where hopeless arms were stopped; empty where none are."""
    if not config.stop_hopeless:
        return {}
    return Hopeless(config, folder, Yardstick.of(evaluator)).courses(read_costs(folder))


def data_facts(config: Experiment, split: Split) -> dict[str, Any]:
    """What was trained on and judged by."""
    return {
        "source": config.train.data.source,
        "train_images": len(split.train),
        "held_out_images": len(split.held_out),
        "shape": list(split.train.shape),
        "classes": list(split.train.class_names),
        "skipped": len(split.train.skipped),
        "fingerprint": split.train.fingerprint(),
    }


def _sampler(config: CompareConfig, runs: Gathered, name: str, floor: dict[str, float]) -> dict[str, Any]:
    part = tables.sampler_part(name)
    return {
        "changes": config.samplers[name],
        "nfe": {arm: _nfe(config.sampling(arm, name)) for arm in config.arms},
        **tables.by_arm(runs, lambda found: tables.quality(found, floor, part)),
        "ratios": tables.as_json(tables.ratios(runs, floor, part)),
    }


def _nfe(sampling: SamplingConfig) -> int:
    return solver_nfe(sampling.solver, sampling.steps)


def _curves(run: Path) -> dict[str, list[float]]:
    lines = read_metrics(run)
    curves: dict[str, list[float]] = {"step": [line["step"] for line in lines]}
    for name in ("loss", "gap", "g_dsm", "g_structure"):
        if any(name in line for line in lines):
            curves[name] = [line.get(name) for line in lines]  # type: ignore[misc]
    return curves


def _protocol(config: CompareConfig, evaluator: Evaluator) -> dict[str, Any]:
    train, group = config.train, evaluator.group
    return {
        "arms": {arm: _changes(change) for arm, change in config.arms.items()},
        "sampler": f"{SOLVERS[train.sampling.solver].title}, {GRID_TITLES[train.sampling.grid]}",
        "nfe": _nfe(train.sampling),
        "guidance_scale": train.sampling.guidance_scale,
        "samples": group * config.groups,
        "group": group,
        "label_sampling": "held-out frequencies" if train.data.keep else "training frequencies",
        "ema": f"half-life {train.optimiser.ema_half_life:g} images, warm-up {train.optimiser.ema_warmup:g}",
        "reference": f"{group} held-out images; judges fitted on {group} others; floor from {group} others",
        "seeds": config.seeds,
        "rule": RULE,
        "settings": flatten(train.model_dump(mode="json")),
    }


def _changes(change: dict[str, Any]) -> str:
    return "; ".join(f"{key} = {value}" for key, value in flatten(change).items()) or "nothing"


def _memory(runs: Gathered, processes: int) -> float:
    """Upper estimate of what all processes held at once: the largest workers and this process."""
    largest = sorted((result["memory_mib"] for result in runs.results), reverse=True)[:processes]
    return round(sum(largest) + peak_memory_mib(), 1)
