"""The stored regimes in one table, and the geometric mean over them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.common import result_path, stored
from benchmarks.structure.pairs import ALL, CONFIRMED, PAIRS, SHARES
from benchmarks.structure.regimes import REGIMES
from benchmarks.structure.trainings import NAME
from benchmarks.structure.variants import TABLES

BEST, GAME = "hidden", "sadm"
"""The arm that measures best, which the summary is about, and the paper's game, which it also gives a mean for."""


def summary() -> dict[str, Any]:
    """What the stored results say; regimes without a result are listed as missing."""
    rows = stored_rows()
    found = {
        "regimes": [regime_summary(row) for row in rows],
        "pairs": stored_rows([*PAIRS, *CONFIRMED]),
        "missing": [name for name in (*REGIMES, *ALL, "relations", *TABLES) if not result_path(NAME, name).exists()],
        **over_regimes(rows, BEST),
        "game": over_regimes(rows, GAME),
        "dit_xl2_flop_overhead": None,
    }
    if result_path(NAME, "flops").exists():
        found["dit_xl2_flop_overhead"] = stored(NAME, "flops")["networks"][-1]["overhead"]
    return found


def stored_rows(names: Iterable[str] = REGIMES) -> list[dict[str, Any]]:
    """Those of these rows, by default of all regimes, that are stored, in this order."""
    return [stored(NAME, name) for name in names if result_path(NAME, name).exists()]


def regime_summary(row: dict[str, Any]) -> dict[str, Any]:
    """One regime: FD - floor of both arms, their ratios, and what the treatment costs."""
    arm = BEST
    cost, ratios = row["cost"][arm], row["ratios"]
    judges = {}
    for judge in row["deciding"]:
        equal_cost, equal_steps = ratios["equal_cost"][arm][judge], ratios["equal_steps"][arm][judge]
        judges[judge] = {
            "fd_plain": row["arms"]["plain"]["fd"][judge]["mean"] - row["floor"][judge],
            "fd_structure": row["arms"][arm]["fd"][judge]["mean"] - row["floor"][judge],
            "ratio_equal_cost": equal_cost["mean"],
            "ratio_equal_steps": equal_steps["mean"],
            "low": equal_cost.get("low"),
            "high": equal_cost.get("high"),
        }
    return {
        "regime": row["regime"],
        "title": row["title"],
        "arm": arm,
        "seeds": row["seeds"],
        "judges": judges,
        "cost_to_plain_ratio": cost_to_plain(row, arm),
        "step_overhead": cost["step_ratio"] - 1,
        "diverged": row["diverged"][arm],
    }


def cost_to_plain(row: dict[str, Any], arm: str) -> dict[str, Any] | None:
    """By deciding judge, the share of plain training's cost at which the arm is as good; None where it was not measured."""
    from sadm.experiments.statistics import Interval, cost_to_reach

    shares = {
        pairs.share: stored(NAME, name)
        for name, pairs in SHARES.items()
        if (pairs.cost_of, pairs.arm) == (row["regime"], arm) and result_path(NAME, name).exists()
    }
    if not shares:
        return None
    found = {share: at["ratios"] for share, at in shares.items()} | {1.0: row["ratios"]["equal_cost"][arm]}
    return {
        judge: cost_to_reach({share: Interval(**ratios[judge]) for share, ratios in found.items()}).as_dict()
        for judge in row["deciding"]
    }


def over_regimes(rows: list[dict[str, Any]], arm: str) -> dict[str, Any]:
    """Geometric mean of an arm's ratio at equal cost over regimes and deciding judges, with its interval over paired seeds."""
    from sadm.experiments.statistics import geometric_mean

    regimes: dict[str, dict[str, list[float]]] = {}
    for row in (row for row in rows if arm in row["ratios"]["equal_cost"]):
        ratios = {judge: row["ratios"]["equal_cost"][arm][judge] for judge in row["deciding"]}
        if all(ratio["mean"] is not None for ratio in ratios.values()):
            regimes[row["regime"]] = {judge: ratio["values"] for judge, ratio in ratios.items()}
    if not regimes:
        return {"geometric_mean_ratio": None, "low": None, "high": None}
    mean = geometric_mean(regimes)
    return {"geometric_mean_ratio": mean.mean, "low": mean.low, "high": mean.high}
