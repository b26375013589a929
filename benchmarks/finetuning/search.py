"""The search: a learning rate for each method, and a form of structure for all, with search seeds.

Both arms are tuned alike: plain fine-tuning is tried at four learning rates with each method, structure in four forms at the rate
that suits plain fine-tuning best.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from benchmarks.common import RUNS, result_path, rounded, store, stored
from benchmarks.finetuning.grid import (
    FORM_METHODS,
    FORMS,
    JUDGES,
    MORE_FORMS,
    MORE_METHODS,
    RATES,
    SEARCH_SEEDS,
    STEPS,
)
from benchmarks.finetuning.trainings import NAME, cell_config

CELLS = (("classes", 500), ("textures", 50))
"""Cells of the grid that the search looks at."""


def run_rates() -> None:
    """Tries every method's learning rates; each method's result is stored as it comes."""
    for method, rates in RATES.items():
        if not result_path(NAME, f"rates-{method}").exists():
            arms = {"plain": {}, **{f"{rate:g}": {"optimiser": {"learning_rate": rate}} for rate in rates[1:]}}
            store(NAME, f"rates-{method}", compared("rates", method, rates[0], arms, SEARCH_SEEDS[:1]))


ROUNDS: dict[str, tuple[Mapping[str, dict[str, Any]], tuple[str, ...]]] = {
    "forms": (FORMS, FORM_METHODS),
    "more-forms": (MORE_FORMS, MORE_METHODS),
}
"""Rounds of the search for a form of structure: what was tried, with which methods."""


def run_forms(stage: str) -> None:
    """Tries every form of one of `ROUNDS`, at the learning rate that suits plain fine-tuning."""
    forms, methods = ROUNDS[stage]
    for method in methods:
        if not result_path(NAME, f"{stage}-{method}").exists():
            arms = {"plain": {}, **forms}
            store(NAME, f"{stage}-{method}", compared(stage, method, best_rate(method), arms, SEARCH_SEEDS))


def compared(
    stage: str, method: str, rate: float, arms: Mapping[str, dict[str, Any]], seeds: tuple[int, ...]
) -> dict[str, Any]:
    """By cell and arm, FD - floor by judge (mean over seeds), at equal steps."""
    from benchmarks.paired import above_floor, seconds, train_all
    from sadm.core.provenance import provenance
    from sadm.experiments.config import CompareConfig
    from sadm.experiments.runs import Runs

    cells = []
    for transfer, images in CELLS:
        folder = RUNS / NAME / stage / f"{transfer}-{images}-{method}"
        config = CompareConfig(
            train=cell_config(transfer, images, method, rate), arms=dict(arms), seeds=[*seeds], groups=1
        )
        floor = train_all(config, folder, dict.fromkeys(arms, STEPS))
        found = {arm: Runs.read(folder, arm, seeds, STEPS) for arm in arms}
        rows = {
            arm: None
            if runs.diverged
            else {
                "excess": {judge: above_floor(runs, judge, floor) for judge in floor},
                "cpu_seconds": [seconds(result) for result in runs.results],
            }
            for arm, runs in found.items()
        }
        cells.append({"transfer": transfer, "images": images, "arms": rows})
    return {
        "method": method,
        "rate": rate,
        "seeds": [*seeds],
        "cells": [short(cell) for cell in cells],
        "provenance": provenance(),
    }


def short(value: Any) -> Any:
    """Numbers at four significant digits, however deep they lie in mappings and lists."""
    if isinstance(value, dict):
        return {key: short(item) for key, item in value.items()}
    return [short(item) for item in value] if isinstance(value, list) else rounded(value)


def best_rate(method: str) -> float:
    """The learning rate with the smallest FD - floor, in the geometric mean over cells and deciding judges."""
    rates = dict(zip(("plain", *(f"{rate:g}" for rate in RATES[method][1:])), RATES[method], strict=True))
    found = stored(NAME, f"rates-{method}")
    return min(rates.items(), key=lambda item: mean_excess(found, item[0]))[1]


def mean_excess(found: Mapping[str, Any], arm: str) -> float:
    """Geometric mean of FD - floor over cells, deciding judges and seeds; infinite where a training diverged."""
    logs = []
    for cell in found["cells"]:
        row = cell["arms"][arm]
        if row is None:
            return math.inf
        logs += [math.log(max(value, 1e-12)) for judge in JUDGES for value in row["excess"][judge]]
    return math.exp(sum(logs) / len(logs))


def best_form() -> str:
    """The form of the first round with the smallest FD - floor, in the geometric mean over methods too."""

    def mean(form: str) -> float:
        found = [mean_excess(stored(NAME, f"forms-{method}"), form) for method in FORM_METHODS]
        return math.prod(found) ** (1 / len(found))

    return min(FORMS, key=mean)
