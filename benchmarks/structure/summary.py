"""The stored regimes in one table, and the geometric mean over them."""

from __future__ import annotations

from typing import Any

from benchmarks.common import result_path, stored
from benchmarks.structure.regimes import REGIMES
from benchmarks.structure.trainings import NAME

TREATMENT = "sadm"


def summary() -> dict[str, Any]:
    """What the stored results say; regimes without a result are listed as missing."""
    rows = stored_rows()
    found = {
        "regimes": [regime_summary(row) for row in rows],
        "missing": [name for name in REGIMES if not result_path(NAME, name).exists()],
        **over_regimes(rows),
        "dit_xl2_flop_overhead": None,
    }
    if result_path(NAME, "flops").exists():
        found["dit_xl2_flop_overhead"] = stored(NAME, "flops")["overhead"]
    return found


def stored_rows() -> list[dict[str, Any]]:
    """The rows of all regimes with a stored result, in the order of `REGIMES`."""
    return [stored(NAME, name) for name in REGIMES if result_path(NAME, name).exists()]


def regime_summary(row: dict[str, Any]) -> dict[str, Any]:
    """One regime: FD - floor of both arms, their ratios, and what the treatment costs."""
    cost, ratios = row["cost"][TREATMENT], row["ratios"]
    judges = {}
    for judge in row["deciding"]:
        equal_cost, equal_steps = ratios["equal_cost"][TREATMENT][judge], ratios["equal_steps"][TREATMENT][judge]
        judges[judge] = {
            "fd_plain": row["arms"]["plain"]["fd"][judge]["mean"] - row["floor"][judge],
            "fd_structure": row["arms"][TREATMENT]["fd"][judge]["mean"] - row["floor"][judge],
            "ratio_equal_cost": equal_cost["mean"],
            "ratio_equal_steps": equal_steps["mean"],
            "low": equal_cost.get("low"),
            "high": equal_cost.get("high"),
        }
    return {
        "regime": row["regime"],
        "title": row["title"],
        "seeds": row["seeds"],
        "judges": judges,
        "cost_to_plain_ratio": None,
        "step_overhead": cost["step_ratio"] - 1,
        "diverged": row["diverged"][TREATMENT],
    }


def over_regimes(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Geometric mean of the ratio at equal cost over regimes and deciding judges, with its interval over paired seeds."""
    from sadm.experiments.statistics import geometric_mean

    regimes: dict[str, dict[str, list[float]]] = {}
    for row in (row for row in rows if row["counts"]):
        ratios = {judge: row["ratios"]["equal_cost"][TREATMENT][judge] for judge in row["deciding"]}
        if all(ratio["mean"] is not None for ratio in ratios.values()):
            regimes[row["regime"]] = {judge: ratio["values"] for judge, ratio in ratios.items()}
    if not regimes:
        return {"geometric_mean_ratio": None, "low": None, "high": None}
    mean = geometric_mean(regimes)
    return {"geometric_mean_ratio": mean.mean, "low": mean.low, "high": mean.high}
