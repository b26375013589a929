"""What was measured on request, in ``comparison.json``: by arm, over seeds, and against plain training."""

from __future__ import annotations

from typing import Any

from sadm.evaluation import Evaluator
from sadm.evaluation.memorisation import VERDICTS, share_interval, verdict_of
from sadm.evaluation.memorisation.audit import LEVEL
from sadm.experiments import gains
from sadm.experiments.config import CompareConfig
from sadm.experiments.plan import AUDIT, DOWNSTREAM, REPRESENTATION, STRUCTURE
from sadm.experiments.runs import Gathered, Result, Runs
from sadm.experiments.tables import at, by_arm

_SHARED = ("training_images", "held_out", "threshold", "leaked")
CONFIDENCE = 0.95


def measured(config: CompareConfig, runs: Gathered, evaluator: Evaluator) -> dict[str, Any]:
    """``structure_metric``, ``audit``, ``downstream`` and ``representation`` as far as they were asked for."""
    parts = {
        STRUCTURE: lambda: structure(runs, evaluator),
        AUDIT: lambda: audit(runs),
        DOWNSTREAM: lambda: gains.downstream(runs),
        REPRESENTATION: lambda: gains.representation(runs),
    }
    return {name: part() for name, part in parts.items() if getattr(config, name)}


def structure(runs: Gathered, evaluator: Evaluator) -> dict[str, Any]:
    """By arm, space and gap, how far the arrangement of its images is from that of real ones; beside real against real."""
    measured = [result[STRUCTURE]["gaps"] for result in runs.results if STRUCTURE in result]
    if not measured:
        return {}
    real = evaluator.structure.real
    parts = {
        (space, gap): (STRUCTURE, "gaps", space, gap)
        for space, gaps in real.items()
        for gap in gaps
        if all(gap in found.get(space, {}) for found in measured)
    }

    def describe(found: Runs) -> dict[str, Any]:
        return gains.nested(parts, lambda part: found.interval(at(*part))) if found.finished else {}

    return {
        "group": evaluator.group,
        "real": gains.nested(parts, lambda part: real[part[2]][part[3]]),
        **by_arm(runs, describe),
        "differences": gains.differences(runs, parts),
    }


def audit(runs: Gathered) -> dict[str, Any]:
    """By arm, whether its models copy; see `arm_audit`. With what all audits share."""
    some = next((result[AUDIT] for result in runs.results if AUDIT in result), None)
    if some is None:
        return {}
    closer = {("closer", "probability"): (AUDIT, "closer", "probability")}
    return {
        "images": some["images"],
        **{key: some[key] for key in _SHARED},
        "level": LEVEL,
        **by_arm(runs, arm_audit),
        "differences": gains.differences(runs, closer),
    }


def arm_audit(runs: Runs) -> dict[str, Any]:
    """The audits of an arm's models, one for each seed, taken together.

    Images of several models are not pooled: those of one are alike, and all are compared with the same fresh images, so that
    tests of different runs are not independent of each other. Bonferroni's correction holds whatever they are: p-values are the
    smallest times the number of runs, and the run with most copies has an interval at a level that holds for all runs at once.

    Returns:
        The verdict (that of the worst run, at the corrected level), seeds, copies of each run, the run with most of them, its
        rate and interval, both p-values, and how often an image is closer to training than a fresh one, over seeds. Empty where
        every run diverged.
    """
    audits = [(result["seed"], result[AUDIT]) for result in runs.finished]
    if not audits:
        return {}
    count = len(audits)
    verdicts = [
        verdict_of(facts["copies"], facts["copies_p_value"], facts["p_value"], LEVEL / count) for _, facts in audits
    ]
    seed, worst = max(audits, key=lambda pair: pair[1]["copies"])
    low, high = share_interval(worst["copies"], worst["images"], 1 - (1 - CONFIDENCE) / count)
    return {
        "verdict": min(verdicts, key=VERDICTS.index),
        "seeds": [seed for seed, _ in audits],
        "copies": [facts["copies"] for _, facts in audits],
        "verdicts": verdicts,
        "worst": {"seed": seed, "copies": worst["copies"], "copy_rate": worst["copy_rate"], "low": low, "high": high},
        "copies_p_value": _smallest(audits, "copies_p_value"),
        "p_value": _smallest(audits, "p_value"),
        "closer": runs.interval(at(AUDIT, "closer", "probability")),
    }


def _smallest(audits: list[tuple[int, Result]], key: str) -> float:
    """The smallest p-value, corrected for the number of runs."""
    return float(min(1.0, len(audits) * min(facts[key] for _, facts in audits)))
