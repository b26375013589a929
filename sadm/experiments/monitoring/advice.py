"""From measurements to one of three pieces of advice, with its reasons and the next command."""

from __future__ import annotations

import shlex

from sadm.data import ImageSet
from sadm.evaluation.drift import Drift
from sadm.evaluation.memorisation import share_interval
from sadm.experiments.monitoring.fitness import Fitness

KEEP, WATCH, RETRAIN = "keep", "watch", "retrain"
FEW = 20
"""Fewer independent new images than this reassure nobody."""
MANY_OUTSIDE = 0.2
"""So large a share of new images outside of what training has shown (the interval's lower end) asks for training anew."""


def decide(drift: Drift, fitness: Fitness, fed_back: int) -> tuple[str, tuple[str, ...]]:
    """The advice and its reasons.

    Args:
        drift: of the new images.
        fitness: of the model.
        fed_back: new images of which the model draws near copies beyond chance.
    """
    outside = drift.support.outside
    many = share_interval(int(outside.sum()), len(outside))[0] >= MANY_OUTSIDE
    grave = {
        "new_classes": bool(drift.new_classes),
        "worse": drift.found and fitness.worse,
        "outside": drift.tests["support"].seen and many,
    }
    slight = {
        "drift": drift.found,
        "gone_classes": bool(drift.gone_classes),
        "fed_back": fed_back > 0,
        "few": drift.units < FEW or not any(drift.seen.values()),
    }
    reasons = [name for name, holds in (grave | slight).items() if holds]
    if any(grave.values()):
        return RETRAIN, tuple(name for name in reasons if name != "few")
    return (WATCH, tuple(reasons)) if reasons else (KEEP, ("nothing",))


def commands(
    key: str, reasons: tuple[str, ...], run: str, new: ImageSet, out: str, sorted_first: bool
) -> tuple[str, ...]:
    """What to type next.

    Args:
        key: the advice.
        reasons: for it.
        run: the run folder, as the user named it.
        new: the new images.
        out: where results are.
        sorted_first: the new images have no labels, and the model has classes.
    """
    again = f"sadm monitor {shlex.quote(run)} {shlex.quote(new.source)} --out {shlex.quote(out)}"
    if key == RETRAIN:
        train = f"sadm train --config {shlex.quote(out + '/retrain.yaml')} --out {shlex.quote(run.rstrip('/') + '-retrained')}"
        return (again,) if sorted_first else (f"{again} --together", train)
    if key == WATCH and reasons[0] != "few":
        return (f"sadm prepare {shlex.quote(new.source)}",)
    return (again,)
