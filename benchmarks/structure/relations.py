"""Which relation serves which task: the paper's game with each relation, against plain training at equal steps."""

from __future__ import annotations

from typing import Any

from benchmarks.common import RUNS, relative, store
from benchmarks.paired import ratio, rows_of_arms
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
    rows = rows_of_arms(config, folder, dict.fromkeys(config.arms, train.optimiser.steps))
    judges = list(next((row["excess"] for row in rows.values() if row["excess"]), {}))
    ratios = {name: {judge: ratio(rows, name, CONTROL, judge)["mean"] for judge in judges} for name in arms}
    return {"task": task, "title": regime.title, "ratios": ratios, "provenance": provenance()}
