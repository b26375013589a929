"""Which relation serves which task: the paper's game with each relation, against plain training at equal steps."""

from __future__ import annotations

from typing import Any

from benchmarks.common import RUNS, relative, store
from benchmarks.paired import above_floor, train_all
from benchmarks.pinned import pinned_recipe
from benchmarks.structure.regimes import REGIMES, SEARCH_SEEDS, SIDE
from benchmarks.structure.trainings import NAME, plain_start

RELATIONS = ("cosine", "euclidean", "rbf", "angles")
TASKS = ("B", "C300", "D", "E")
"""Regimes whose trainings are compared: from scratch, few images, a rare class, continuing a model."""
SEEDS = SEARCH_SEEDS[:2]


def run_relations() -> None:
    """Trains what is missing and stores the table; resumable."""
    store(NAME, "relations", {"seeds": [*SEEDS], "rows": [task_row(task) for task in TASKS]})


def task_row(task: str) -> dict[str, Any]:
    """By relation and judge, the mean ratio of FD - floor to that of plain training with the same seeds."""
    from sadm.core.config import merge
    from sadm.core.provenance import provenance
    from sadm.experiments.config import CONTROL, CompareConfig

    regime, folder = REGIMES[task], RUNS / NAME / f"relations-{task}"
    change = merge(regime.change, {"log": {"samples": 0}})
    if regime.starts_from_plain:
        change = merge(change, {"start_from": relative(plain_start(regime.recipe))})
    train = pinned_recipe(f"fashion_mnist_{SIDE}", change)
    arms = {name: {"signal": "structure", "structure": {"relation": name}} for name in RELATIONS}
    config = CompareConfig(train=train, arms={CONTROL: {"signal": "none"}, **arms}, seeds=[*SEEDS], groups=1)
    floor = train_all(config, folder, dict.fromkeys(config.arms, train.optimiser.steps))
    ratios = {
        name: {judge: mean_ratio(folder, name, train.optimiser.steps, judge, floor) for judge in floor} for name in arms
    }
    return {"task": task, "title": regime.title, "ratios": ratios, "provenance": provenance()}


def mean_ratio(folder: Any, arm: str, steps: int, judge: str, floor: dict[str, float]) -> float | None:
    """The geometric mean over paired seeds; None where a training diverged or reached the floor."""
    from sadm.experiments.config import CONTROL
    from sadm.experiments.runs import Runs
    from sadm.experiments.statistics import paired_ratio

    treated, control = (Runs.read(folder, name, SEEDS, steps) for name in (arm, CONTROL))
    if treated.diverged or control.diverged:
        return None
    found = paired_ratio(*(above_floor(runs, judge, floor) for runs in (treated, control)))
    return found.as_dict()["mean"]
