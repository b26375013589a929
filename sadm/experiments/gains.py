"""Downstream gain and representation quality in ``comparison.json``: intervals over seeds, and paired differences from plain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sadm.evaluation.downstream.scores import METRICS
from sadm.evaluation.representation import CORRUPTIONS, PROBES
from sadm.experiments.plan import DOWNSTREAM, REPRESENTATION
from sadm.experiments.runs import Gathered, Result, Runs
from sadm.experiments.statistics import mean_interval
from sadm.experiments.tables import Part, at, by_arm


def downstream(runs: Gathered) -> dict[str, Any]:
    """By arm, what classifiers gain from its images; and how much more than from plain training's.

    The runs of all arms share the classifiers on real images, which are named once.
    """
    some = next((result[DOWNSTREAM] for result in runs.results if DOWNSTREAM in result), None)
    if some is None:
        return {}
    parts = {(mix, metric): (DOWNSTREAM, "gains", mix, metric, "mean") for mix in some["gains"] for metric in METRICS}

    def describe(found: Runs) -> dict[str, Any]:
        if not found.finished:
            return {}
        gains = nested(parts, lambda part: found.interval(at(*part)))
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
        name: runs.interval(at(DOWNSTREAM, "gains", some["headline"], "recall", name, "mean"))
        for name, gain in known.items()
        if gain is not None
    }


def _worth(runs: Runs, some: Result) -> dict[str, Any]:
    """By mix and metric, real images that do as much, over the runs for which that can be told; None where it is none."""
    found: dict[str, dict[str, Any]] = {}
    for mix, by_metric in some["worth"].items():
        for metric in by_metric:
            told = [at(DOWNSTREAM, "worth", mix, metric)(result) for result in runs.finished]
            known = [value["images"] for value in told if value["images"] is not None]
            outcomes = [value["outcome"] for value in told]
            interval = mean_interval(known).as_dict() if len(known) == len(told) else None
            found.setdefault(mix, {})[metric] = {"outcomes": outcomes, "images": interval}
    return found
