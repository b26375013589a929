"""The search: successive halving over what the paper leaves open, at 8x8, with search seeds."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from benchmarks.common import RUNS, SEARCHED_FROM, result_path, store, stored
from benchmarks.pinned import pinned_recipe
from benchmarks.structure.regimes import SEARCH_SEEDS, SIDE
from benchmarks.structure.trainings import NAME

CONTROLS = ("features", "labels", "dispersive", "contrastive", "repa")
GAMES: dict[str, dict[str, Any]] = {
    "default": {},
    "ratio 0.2": {"ratio": 0.2},
    "ratio 0.8": {"ratio": 0.8},
    "clip": {"k_max": 1.0},
    "all images": {"fraction": 1.0},
    "uniform weight": {"noise_weight": "uniform"},
    "to the end": {"end": 1.0},
    "first quarter": {"end": 0.25},
    "every 2nd step": {"every": 2},
    "frozen": {"adversary": "frozen"},
    "classify": {"adversary": "classify"},
    "euclidean": {"relation": "euclidean"},
    "rbf": {"relation": "rbf"},
    "angles": {"relation": "angles"},
    "rank": {"penalty": "rank"},
    "stages": {"encoder_outputs": "stages"},
    "views": {"encoder_training": "views"},
    "stride 2": {"encoder_stride": 2},
}
FIRST: dict[str, dict[str, Any]] = {
    **{name: {"signal": "structure", "structure": {**SEARCHED_FROM, **change}} for name, change in GAMES.items()},
    **{name: {"signal": name, "structure": SEARCHED_FROM} for name in CONTROLS},
}
_UNBOUND = {"ratio": None}  # the bound came later
HIDDEN: dict[str, dict[str, Any]] = {
    "hidden - middle block - weight 1": {
        "control": {"tap": "blocks.1", "weight": 1.0, **_UNBOUND},
        "structure": SEARCHED_FROM,
    },
    "hidden - weight 1": {"control": {"weight": 1.0, **_UNBOUND}, "structure": SEARCHED_FROM},
    "hidden - weight 2.5": {"control": {"weight": 2.5, **_UNBOUND}, "structure": SEARCHED_FROM},
    "hidden - lean - weight 2.5": {"control": {"weight": 2.5, **_UNBOUND}},
    "hidden - lean": {"control": _UNBOUND},
    "hidden - lean - to the end": {"control": _UNBOUND, "structure": {"end": 1.0}},
}
SECOND: dict[str, dict[str, Any]] = {
    **{name: {"signal": "hidden", **change} for name, change in HIDDEN.items()},
    "repa - last block": {"signal": "repa", "control": {"tap": "blocks.2"}, "structure": SEARCHED_FROM},
}
"""What the first stage suggested: signals that enter below x0_hat, since aligning a hidden layer gained most at equal steps."""

CANDIDATES = {**FIRST, **SECOND}


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        seeds: how many of the search seeds.
        steps: of a training.
        survivors: how many candidates of the stage before go on; the default game always does.
        joining: candidates that begin here.
    """

    seeds: int
    steps: int
    survivors: int
    joining: dict[str, dict[str, Any]]


STAGES = (Stage(1, 300, 0, FIRST), Stage(2, 600, 2, SECOND))


def run_search() -> None:
    """Runs the stages one after the other; each finished one is stored."""
    for number, stage in enumerate(STAGES, start=1):
        if result_path(NAME, f"search-{number}").exists():
            continue
        before = best(stored(NAME, f"search-{number - 1}")["rows"], stage.survivors) if stage.survivors else []
        found = run_stage(number, [*before, *stage.joining], [*SEARCH_SEEDS[: stage.seeds]], stage.steps)
        store(NAME, f"search-{number}", found)


def run_stage(stage: int, names: list[str], seeds: list[int], steps: int) -> dict[str, Any]:
    """One stage: every candidate against plain at equal steps and at equal cost."""
    from sadm.core.progress import ConsoleReporter
    from sadm.experiments.compare import compare
    from sadm.experiments.config import CompareConfig

    config = CompareConfig(
        train=pinned_recipe(f"fashion_mnist_{SIDE}", {"optimiser": {"steps": steps}, "log": {"samples": 0}}),
        arms={"plain": {"signal": "none"}, **{name: CANDIDATES[name] for name in names}},
        seeds=seeds,
        groups=1,
        cost_steps=60,
    )
    with ConsoleReporter() as reporter:
        comparison = compare(config, RUNS / NAME / f"search-{stage}", reporter)
    rows = [candidate_row(name, comparison) for name in names]
    return {"seeds": seeds, "steps": steps, "rows": rows, "provenance": comparison["provenance"]}


def candidate_row(name: str, comparison: dict[str, Any]) -> dict[str, Any]:
    """A candidate's ratios by judge, and their geometric mean over the deciding judges."""
    deciding = [judge for judge, facts in comparison["judges"].items() if facts["decides"]]
    ratios = {
        budget: {judge: ratio["mean"] for judge, ratio in by_arm[name].items()}
        for budget, by_arm in comparison["ratios"].items()
    }
    means = {budget: geometric(found[judge] for judge in deciding) for budget, found in ratios.items()}
    return {
        "candidate": name,
        "changes": CANDIDATES[name],
        "ratios": ratios,
        "mean_equal_cost": means["equal_cost"],
        "mean_equal_steps": means["equal_steps"],
        "step_ratio": comparison["cost"][name]["step_ratio"],
    }


def geometric(values: Any) -> float | None:
    """The geometric mean; None where a value is missing."""
    found = list(values)
    if any(value is None for value in found):
        return None
    return math.exp(sum(map(math.log, found)) / len(found))


def best(rows: list[dict[str, Any]], count: int) -> list[str]:
    """The `count` candidates with the smallest mean ratio at equal cost, and the default."""
    ranked = sorted(rows, key=lambda r: math.inf if r["mean_equal_cost"] is None else r["mean_equal_cost"])
    kept = [r["candidate"] for r in ranked[:count]]
    return kept if "default" in kept else [*kept, "default"]
