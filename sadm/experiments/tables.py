"""The parts of ``comparison.json`` that are computed from runs."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from sadm.data import ImageSet, Split
from sadm.evaluation import Evaluator
from sadm.experiments.config import CONTROL
from sadm.experiments.runs import EQUAL_COST, EQUAL_STEPS, Gathered, Result, Runs, Value
from sadm.experiments.statistics import Interval, Missing, cost_to_reach, mean_interval

Part = tuple[str, ...]  # keys of an evaluation in a result
Ratios = dict[str, dict[str, dict[str, Interval | Missing]]]
MAIN: Part = ("evaluation",)
METRICS = ("fd", "kid", "precision", "recall")


def sampler_part(name: str) -> Part:
    """Where a result holds the evaluation with one of the further samplers."""
    return ("evaluations", name)


def at(*keys: str) -> Callable[[Result], Any]:
    """What is at these keys of a result."""
    return lambda result: functools.reduce(operator.getitem, keys, result)


def above(floor: float, *keys: str) -> Value:
    """The number at these keys of a result, less its floor."""
    value = at(*keys)
    return lambda result: value(result) - floor


def ratios(runs: Gathered, floor: Mapping[str, float], part: Part = MAIN) -> Ratios:
    """Paired ratios of FD - floor, by budget, arm and judge."""
    return {
        budget: {
            arm: {
                judge: found.against(runs.control, above(value, *part, "fd", judge)) for judge, value in floor.items()
            }
            for arm, found in arms.items()
        }
        for budget, arms in runs.budgets.items()
    }


def as_json(values: Any) -> Any:
    """Nested mappings with their intervals as dictionaries."""
    return {key: as_json(value) for key, value in values.items()} if isinstance(values, dict) else values.as_dict()


def by_arm(runs: Gathered, describe: Callable[[Runs], Any]) -> dict[str, Any]:
    """``arms`` (the control, the others at equal cost) and ``equal_steps`` (the others)."""
    return {
        "arms": {CONTROL: describe(runs.control), **_each(runs.budgets[EQUAL_COST], describe)},
        "equal_steps": _each(runs.budgets[EQUAL_STEPS], describe),
    }


def arm_facts(runs: Runs, judges: Iterable[str]) -> dict[str, Any]:
    """Quality, cost and size of an arm at one budget; means over the runs that finished."""
    finished = runs.finished
    facts = {
        **quality(runs, judges),
        "steps": runs.jobs[0].steps,
        "seeds": [result["seed"] for result in finished],
        "diverged": runs.diverged,
    }
    if finished:
        facts |= {
            "cpu_seconds": round(_mean(r["cpu_seconds"] + r["pretrain_cpu_seconds"] for r in finished), 3),
            "pretrain_cpu_seconds": round(_mean(r["pretrain_cpu_seconds"] for r in finished), 3),
            "sample_ms_per_image": round(_mean(r["sample_ms_per_image"] for r in finished), 4),
            "parameters": finished[0]["parameters"],
        }
    return facts


def quality(runs: Runs, judges: Iterable[str], part: Part = MAIN) -> dict[str, Any]:
    """Every metric of an evaluation by judge, and the share of images with the right label; empty where every run diverged."""
    finished = runs.finished
    if not finished:
        return {"fd": {}, "kid": {}, "label_accuracy": None}
    accuracies = [at(*part, "label_accuracy")(result) for result in finished]
    return {
        **metrics(runs, judges, part),
        "label_accuracy": None if accuracies[0] is None else _mean(accuracies),
    }


def metrics(runs: Runs, judges: Iterable[str], part: Part) -> dict[str, Any]:
    """Mean and interval, by metric and judge, of the metrics that all finished runs have in a part of their results."""
    measured = [at(*part)(result) for result in runs.finished]
    return {
        metric: {judge: runs.interval(at(*part, metric, judge)) for judge in judges}
        for metric in METRICS
        if measured and all(metric in evaluation for evaluation in measured)
    }


def cost_facts(runs: Gathered, steps: int) -> dict[str, dict[str, Any]]:
    """By arm, what a step and a whole training of `steps` steps cost; seconds relate to the control's mean measurement. What an
    image costs is compared over paired seeds, at equal cost of training."""
    costs = runs.costs
    base = _mean(cost.control_cpu_seconds_per_step for cost in costs.values())
    drawn = runs.budgets[EQUAL_COST]
    facts = {
        arm: {
            "cpu_seconds_per_step": cost.step_ratio * base,
            "step_ratio": cost.step_ratio,
            "total_ratio": cost.share(steps, steps),
            "pretrain_cpu_seconds": cost.pretrain_cpu_seconds * base / cost.control_cpu_seconds_per_step,
            "steps_measured": cost.steps_measured,
            "sampling_ratio": drawn[arm].against(runs.control, at("sample_ms_per_image")).as_dict(),
        }
        for arm, cost in costs.items()
    }
    return {CONTROL: {"cpu_seconds_per_step": base}, **facts}


def cost_to_plain(runs: Gathered, floor: Mapping[str, float]) -> dict[str, Any]:
    """By arm and judge, the share of plain training's cost at which the arm reaches plain training's final FD - floor."""
    found: dict[str, dict[str, Any]] = {}
    for arm, shares in runs.shares.items():
        found[arm] = {}
        for judge, value in floor.items():
            measure = above(value, *MAIN, "fd", judge)
            measured = {share: group.against(runs.control, measure) for share, group in shares.items()}
            missing = [ratio for ratio in measured.values() if isinstance(ratio, Missing)]
            known = {share: ratio for share, ratio in measured.items() if isinstance(ratio, Interval)}
            found[arm][judge] = missing[0].as_dict() if missing else cost_to_reach(known).as_dict()
    return found


def cost_points(runs: Gathered, judges: Iterable[str]) -> dict[str, Any]:
    """By arm, what was measured at each share of plain training's cost."""
    return {
        arm: [
            {
                "share": share,
                "steps": group.jobs[0].steps,
                "fd": quality(group, judges)["fd"],
                "diverged": group.diverged,
            }
            for share, group in sorted(shares.items())
        ]
        for arm, shares in runs.shares.items()
    }


def per_class(runs: Gathered, evaluator: Evaluator, split: Split) -> dict[str, Any]:
    """By class: how many images there are, what real images and every arm score, and ratios of FD - floor."""
    reference, judges = evaluator.by_class, list(evaluator.floor)
    parts = {name: (*MAIN, "classes", name) for name in reference.sizes}

    def describe(found: Runs) -> dict[str, Any]:
        return {name: metrics(found, judges, part) for name, part in parts.items()}

    return {
        "classes": {
            name: {"train_images": count, "reference_images": reference.sizes[name]}
            for name, count in class_counts(split.train).items()
            if name in parts
        },
        "real": {name: dataclasses.asdict(scores) for name, scores in reference.real.items()},
        **by_arm(runs, describe),
        "ratios": {name: as_json(ratios(runs, reference.real[name].fd, part)) for name, part in parts.items()},
    }


def class_counts(images: ImageSet) -> dict[str, int]:
    """Images of each class, by its name; empty without labels."""
    if images.labels is None:
        return {}
    return dict(
        zip(images.class_names, torch.bincount(images.labels, minlength=images.num_classes).tolist(), strict=True)
    )


def _each(groups: Mapping[str, Runs], describe: Callable[[Runs], Any]) -> dict[str, Any]:
    return {arm: describe(runs) for arm, runs in groups.items()}


def _mean(values: Iterable[float]) -> float:
    return mean_interval(list(values)).mean
