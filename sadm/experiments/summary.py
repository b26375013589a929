"""From stored results to ``comparison.json``, ``summary.json`` and the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sadm.core.config import flatten
from sadm.core.files import write_atomically, write_json
from sadm.core.grids import grid_png
from sadm.core.provenance import peak_memory_mib, provenance
from sadm.data import ImageSet, Split, to_uint8
from sadm.diffusion import heun_nfe
from sadm.evaluation import Evaluator, nearest_neighbours
from sadm.experiments.config import CONTROL, TREATMENT, CompareConfig
from sadm.experiments.cost import Cost
from sadm.experiments.jobs import RUNS, RunJob, read_cost
from sadm.experiments.report import Pictures, render_report
from sadm.experiments.report.verdict import verdict_sentence
from sadm.experiments.statistics import AT_THE_FLOOR, Interval, mean_interval, outcome, paired_ratio
from sadm.training.journal import read_metrics
from sadm.training.model_folder import load_model
from sadm.training.run import grid_columns, grid_labels

REPORT, SUMMARY, COMPARISON, SAMPLES = "report.html", "summary.json", "comparison.json", "samples.png"
GRID_IMAGES = 60
NEIGHBOURS = 8
RULE = (
    "An arm wins when the 95 % interval of the mean log-ratio of (FD - floor) over paired seeds, at equal cost, lies on its side "
    "of 1 in every deciding judge."
)


def summarise(config: CompareConfig, folder: Path, split: Split) -> tuple[dict[str, Any], Pictures]:
    """Everything that the report shows, from the stored results of a finished comparison on the images of `split`."""
    evaluator = Evaluator(split.held_out)
    cost = read_cost(folder)
    steps = config.train.optimiser.steps
    control = _results(folder, [RunJob(CONTROL, seed, steps) for seed in config.seeds])
    equal_steps = _results(folder, [RunJob(TREATMENT, seed, steps) for seed in config.seeds])
    afforded = cost.equal_cost_steps(TREATMENT, steps)
    equal_cost = _results(folder, [RunJob(TREATMENT, seed, afforded) for seed in config.seeds])
    judges = evaluator.describe()
    ratios = {
        "equal_cost": _ratios(equal_cost, control, evaluator.floor),
        "equal_steps": _ratios(equal_steps, control, evaluator.floor),
    }
    deciding = [ratios["equal_cost"][name] for name, facts in judges.items() if facts["decides"]]
    comparison: dict[str, Any] = {
        "title": config.train.data.source,
        "data": {
            "source": config.train.data.source,
            "train_images": len(split.train),
            "held_out_images": len(split.held_out),
            "shape": list(split.train.shape),
            "classes": list(split.train.class_names),
            "skipped": len(split.train.skipped),
            "fingerprint": split.train.fingerprint(),
        },
        "judges": judges,
        "floor": evaluator.floor,
        "arms": {CONTROL: _arm(control), TREATMENT: _arm(equal_cost)},
        "equal_steps": {TREATMENT: _arm(equal_steps)},
        "cost": _cost(cost, steps),
        "ratios": {budget: {name: _ratio_json(ratio) for name, ratio in by.items()} for budget, by in ratios.items()},
        "verdict": {"outcome": outcome(deciding)},
        "curves": {
            arm: _curves(folder / RUNS / RunJob(arm, config.seeds[0], steps).name) for arm in (CONTROL, TREATMENT)
        },
        "protocol": _protocol(config, evaluator),
        "provenance": {**provenance(), "threads": 1, "processes": config.jobs},
        "memory_mib": _memory([*control, *equal_steps, *equal_cost], config.jobs),
    }
    comparison["verdict"]["sentence"] = verdict_sentence(comparison, "en")
    runs = {CONTROL: RunJob(CONTROL, config.seeds[0], steps), TREATMENT: RunJob(TREATMENT, config.seeds[0], afforded)}
    return comparison, _pictures(config, folder, runs, split)


def write_outputs(folder: Path, comparison: dict[str, Any], pictures: Pictures, lang: str) -> None:
    """Writes the full numbers, the summary, the sample grid and the report."""
    write_json(folder / COMPARISON, comparison)
    write_json(folder / SUMMARY, short_summary(comparison))
    columns = grid_columns(len(comparison["data"]["classes"]), GRID_IMAGES)
    rows = [pictures.real[:columns], *(samples[: 3 * columns] for samples in pictures.samples.values())]
    write_atomically(folder / SAMPLES, grid_png(np.concatenate(rows), columns))
    write_atomically(folder / REPORT, render_report(comparison, pictures, lang))


def short_summary(comparison: dict[str, Any]) -> dict[str, Any]:
    """What a program needs to know: arms, floor, verdict, minutes."""
    return {
        "arms": comparison["arms"],
        "equal_steps": comparison["equal_steps"],
        "floor": comparison["floor"],
        "ratios": comparison["ratios"],
        "outcome": comparison["verdict"]["outcome"],
        "verdict": comparison["verdict"]["sentence"],
        "minutes_total": comparison["minutes_total"],
    }


def _results(folder: Path, jobs: list[RunJob]) -> list[dict[str, Any]]:
    return [job.read_result(folder) for job in jobs]


def _arm(results: list[dict[str, Any]]) -> dict[str, Any]:
    judges = results[0]["evaluation"]["fd"]

    def mean(value: Callable[[dict[str, Any]], float]) -> float:
        return mean_interval([value(result) for result in results]).mean

    def by_judge(metric: str) -> dict[str, Any]:
        return {name: mean_interval([r["evaluation"][metric][name] for r in results]).as_dict() for name in judges}

    return {
        "fd": by_judge("fd"),
        "kid": by_judge("kid"),
        "label_accuracy": None
        if results[0]["evaluation"]["label_accuracy"] is None
        else mean(lambda r: r["evaluation"]["label_accuracy"]),
        "cpu_seconds": round(mean(lambda r: r["cpu_seconds"] + r["pretrain_cpu_seconds"]), 3),
        "pretrain_cpu_seconds": round(mean(lambda r: r["pretrain_cpu_seconds"]), 3),
        "steps": results[0]["steps"],
        "sample_ms_per_image": round(mean(lambda r: r["sample_ms_per_image"]), 4),
        "parameters": results[0]["parameters"],
        "seeds": [result["seed"] for result in results],
    }


def _ratios(
    treatment: list[dict[str, Any]], control: list[dict[str, Any]], floor: dict[str, float]
) -> dict[str, Interval | None]:
    def above(results: list[dict[str, Any]], name: str) -> list[float]:
        return [result["evaluation"]["fd"][name] - floor[name] for result in results]

    return {name: paired_ratio(above(treatment, name), above(control, name)) for name in floor}


def _ratio_json(ratio: Interval | None) -> dict[str, Any]:
    return {"mean": None, "reason": AT_THE_FLOOR} if ratio is None else ratio.as_dict()


def _cost(cost: Cost, steps: int) -> dict[str, Any]:
    per_step = cost.cpu_seconds_per_step
    pretraining = cost.pretrain_cpu_seconds[TREATMENT]
    return {
        "cpu_seconds_per_step": per_step,
        "step_ratio": per_step[TREATMENT] / per_step[CONTROL],
        "total_ratio": (per_step[TREATMENT] * steps + pretraining) / (per_step[CONTROL] * steps),
        "pretrain_cpu_seconds": pretraining,
        "steps_measured": cost.steps_measured,
    }


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
        "sampler": "Heun, EDM grid",
        "nfe": heun_nfe(train.sampling.steps),
        "guidance_scale": train.sampling.guidance_scale,
        "samples": group * config.groups,
        "group": group,
        "label_sampling": "training frequencies",
        "ema": f"half-life {train.optimiser.ema_half_life:g} images, warm-up {train.optimiser.ema_warmup:g}",
        "reference": f"{group} held-out images; judges fitted on {group} others; floor from {group} others",
        "seeds": config.seeds,
        "rule": RULE,
        "settings": flatten(train.model_dump(mode="json")),
    }


def _memory(results: list[dict[str, Any]], jobs: int) -> float:
    """Upper estimate of what all processes held at once: the largest workers and this process."""
    largest = sorted((result["memory_mib"] for result in results), reverse=True)[:jobs]
    return round(sum(largest) + peak_memory_mib(), 1)


def _pictures(config: CompareConfig, folder: Path, runs: dict[str, RunJob], split: Split) -> Pictures:
    training = split.train.floats()
    samples, neighbours, labels = {}, {}, None
    for arm, job in runs.items():
        model = load_model(folder / RUNS / job.name)
        names = model.spec.class_names
        labels = grid_labels(len(names), GRID_IMAGES)
        images = model.sample(GRID_IMAGES, config.seeds[0], labels)
        samples[arm] = _pixels(images)
        index, distance = nearest_neighbours(images[:NEIGHBOURS], training)
        neighbours[arm] = (samples[arm][:NEIGHBOURS], _pixels(training[index]), distance.tolist())
    shown = None if labels is None else [names[int(label)] for label in labels]
    return Pictures(samples, _pixels(_real_like(split.held_out, labels)), shown, neighbours)


def _real_like(held_out: ImageSet, labels: torch.Tensor | None) -> torch.Tensor:
    """Held-out images of the same classes in the same order."""
    count = min(GRID_IMAGES, len(held_out))
    if labels is None or held_out.labels is None:
        return held_out.floats(torch.arange(count))
    waiting = {int(c): (held_out.labels == c).nonzero().flatten().tolist() for c in labels.unique()}
    index = [waiting[int(c)].pop(0) for c in labels if waiting[int(c)]]
    return held_out.floats(torch.tensor(index))


def _pixels(images: torch.Tensor) -> np.ndarray:
    return to_uint8(images).permute(0, 2, 3, 1).numpy()
