"""Downstream gain and representation quality in ``comparison.json``: intervals over seeds, and paired differences from plain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sadm.evaluation.downstream.scores import METRICS
from sadm.evaluation.representation import CORRUPTIONS, PROBES
from sadm.experiments.plan import DOWNSTREAM, REPRESENTATION
from sadm.experiments.runs import Gathered, Result, Runs
from sadm.experiments.statistics import Interval, mean_interval
from sadm.experiments.tables import Part, at, by_arm


def downstream(runs: Gathered) -> dict[str, Any]:
    """By arm, what classifiers gain from its images; and how much more than from plain training's.

    The runs of all arms share the classifiers on real images, which are named once.
    """
    some = next((result[DOWNSTREAM] for result in runs.results if DOWNSTREAM in result), None)
    if some is None:
        return {}
    gained = {(mix, metric): (DOWNSTREAM, "gains", mix, metric) for mix in some["gains"] for metric in METRICS}
    parts = {keys: (*part, "mean") for keys, part in gained.items()}

    def describe(found: Runs) -> dict[str, Any]:
        if not found.finished:
            return {}
        gains = nested(gained, lambda part: over_seeds_and_images([at(*part)(result) for result in found.finished]))
        return {"gains": gains, "recall": _recall(found, some), "worth": _worth(found, some)}

    shared = ("training_images", "held_out_images", "classes", "seeds", "curve", "headline", "classifier")
    return {
        **{key: some[key] for key in shared},
        "real": some["scores"]["real"],
        **by_arm(runs, describe),
        "differences": differences(runs, parts),
    }


def representation(runs: Gathered) -> dict[str, Any]:
    """By arm, the accuracy of probes on its features; and how much higher it is than on plain training's."""
    some = next((result[REPRESENTATION] for result in runs.results if REPRESENTATION in result), None)
    if some is None:
        return {}
    parts = {(probe, name): (REPRESENTATION, probe, name, "accuracy") for probe in PROBES for name in CORRUPTIONS}

    def describe(found: Runs) -> dict[str, Any]:
        return nested(parts, lambda part: found.interval(at(*part))) if found.finished else {}

    return {
        "training_images": some["training_images"],
        "held_out_images": some["held_out_images"],
        "pixels": some["pixels"],
        **by_arm(runs, describe),
        "differences": differences(runs, parts),
    }


def over_seeds_and_images(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of one estimate of each run, with an interval that holds for other trainings and other held-out images.

    Every run is asked about the same held-out images, so that the spread over seeds knows nothing of these; each run's own
    interval is over classifiers and images. On either side, the squares of half the interval over seeds and of the runs' mean
    half interval add up, as in `crossed_interval`; what is left over is counted twice, on the wide side.

    Args:
        found: mean, low and high of each run.
    """
    seeds = mean_interval([estimate["mean"] for estimate in found])
    known = [estimate for estimate in found if estimate["low"] is not None and estimate["high"] is not None]
    if seeds.low is None or seeds.high is None or len(known) < len(found):
        return Interval(seeds.mean, None, None, seeds.values).as_dict()
    below, above = (
        math.hypot(half, sum(abs(estimate[side] - estimate["mean"]) for estimate in found) / len(found))
        for half, side in ((seeds.mean - seeds.low, "low"), (seeds.high - seeds.mean, "high"))
    )
    return Interval(seeds.mean, seeds.mean - below, seeds.mean + above, seeds.values).as_dict()


def differences(runs: Gathered, parts: Mapping[tuple[str, str], Part]) -> dict[str, Any]:
    """By budget and arm, paired differences from the control at its whole budget."""
    return {
        budget: {
            arm: nested(parts, lambda part, found=found: found.beyond(runs.control, at(*part)).as_dict())
            for arm, found in arms.items()
        }
        for budget, arms in runs.budgets.items()
    }


def nested(parts: Mapping[tuple[str, str], Part], value: Any) -> dict[str, dict[str, Any]]:
    """`value` of each part, by the two keys."""
    found: dict[str, dict[str, Any]] = {}
    for (first, second), part in parts.items():
        found.setdefault(first, {})[second] = value(part)
    return found


def _recall(runs: Runs, some: Result) -> dict[str, Any]:
    """By class with held-out images, the gain in recall with the headline's mix."""
    known = some["gains"][some["headline"]]["recall"]
    return {
        name: over_seeds_and_images(
            [at(DOWNSTREAM, "gains", some["headline"], "recall", name)(result) for result in runs.finished]
        )
        for name, gain in known.items()
        if gain is not None
    }


def _worth(runs: Runs, some: Result) -> dict[str, Any]:
    """By mix and metric, real images that do as much, over the runs for which that can be told; None where it is none."""
    found: dict[str, dict[str, Any]] = {}
    for mix, by_metric in some["worth"].items():
        for metric in by_metric:
            told = [at(DOWNSTREAM, "worth", mix, metric)(result) for result in runs.finished]
            known = [{**value, "mean": value["images"]} for value in told if value["images"] is not None]
            outcomes = [value["outcome"] for value in told]
            interval = over_seeds_and_images(known) if len(known) == len(told) else None
            found.setdefault(mix, {})[metric] = {"outcomes": outcomes, "images": interval}
    return found
