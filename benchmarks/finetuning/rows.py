"""Stored cells as rows of a table, and the geometric mean over them."""

from __future__ import annotations

from typing import Any

from benchmarks.common import result_path, stored
from benchmarks.finetuning.cells import CELLS, PLAIN, STRUCTURE
from benchmarks.finetuning.grid import JUDGES
from benchmarks.finetuning.trainings import NAME


def stored_cells() -> list[dict[str, Any]]:
    """The cells with a stored result, in the order of the grid."""
    return [stored(NAME, name) for name in CELLS if result_path(NAME, name).exists()]


def row(cell: dict[str, Any]) -> dict[str, Any]:
    """One row of the table; FDs have the floor subtracted, as means over seeds."""
    arms = cell["arms"]
    return {
        "transfer": cell["transfer"],
        "method": cell["method"],
        "images": cell["images"],
        "seeds": cell["seeds"],
        "judges": {judge: judged(cell, judge) for judge in JUDGES},
        "cost_ratio": cell["cost"]["step_ratio"],
        "copy_rate": {arm: mean(arms[arm]["copies"]) for arm in (PLAIN, STRUCTURE)},
        "trainable_share": cell["learning"] / cell["parameters"],
        "adapter_bytes": cell["adapter_bytes"],
        "state_bytes": cell["state_bytes"],
        "cpu_seconds": {arm: mean(found["cpu_seconds"]) for arm, found in arms.items()},
        "diverged": {arm: found["diverged"] for arm, found in arms.items()},
    }


def judged(cell: dict[str, Any], judge: str) -> dict[str, Any]:
    """FD - floor of both arms by one judge, and their paired ratio with its interval."""
    from sadm.experiments.statistics import paired_ratio

    plain, own = (cell["arms"][arm]["excess"].get(judge) for arm in (PLAIN, STRUCTURE))
    if plain is None or own is None:
        return {"fd_plain": mean(plain or []), "fd_structure": mean(own or []), "fd_ratio": None}
    ratio = paired_ratio(own, plain).as_dict()
    interval = {bound: ratio[bound] for bound in ("low", "high") if bound in ratio}
    return {"fd_plain": mean(plain), "fd_structure": mean(own), "fd_ratio": ratio["mean"], **interval}


def over_cells(cells: list[dict[str, Any]], arm: str) -> dict[str, Any]:
    """Geometric mean of an arm's ratio to plain fine-tuning over all cells and judges, with its interval over paired seeds."""
    from sadm.experiments.statistics import geometric_mean

    ratios: dict[str, dict[str, list[float]]] = {}
    for cell in cells:
        plain, own = cell["arms"][PLAIN]["excess"], cell["arms"][arm]["excess"]
        if plain and own and min(min(plain[judge] + own[judge]) for judge in JUDGES) > 0:
            name = f"{cell['transfer']}-{cell['images']}-{cell['method']}"
            ratios[name] = {judge: [a / b for a, b in zip(own[judge], plain[judge], strict=True)] for judge in JUDGES}
    if not ratios:
        return {"geometric_mean_ratio": None, "low": None, "high": None, "cells": 0}
    found = geometric_mean(ratios)
    return {"geometric_mean_ratio": found.mean, "low": found.low, "high": found.high, "cells": len(ratios)}


def mean(values: list[float]) -> float | None:
    """The mean; None of nothing."""
    return sum(values) / len(values) if values else None
