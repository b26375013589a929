"""Runs a regime's comparison and keeps what the summary needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import RUNS, relative, store
from benchmarks.pinned import pinned_recipe
from benchmarks.structure.regimes import ARMS, REGIMES, REPORT_SEEDS, SEARCH_SEEDS, Regime

if TYPE_CHECKING:
    from sadm.experiments.config import CompareConfig

NAME = "structure"
START_STEPS = 600


def run_regime(name: str) -> None:
    """Trains what is missing of a regime and of those that share its runs, and stores their rows."""
    regime = REGIMES[name]
    if regime.runs_of is not None:
        return run_regime(regime.runs_of)
    comparison = compared(f"{NAME}/{name}", regime, [*REPORT_SEEDS])
    for other, shared in REGIMES.items():
        if name in (other, shared.runs_of):
            store(NAME, other, row(other, shared, comparison))
    return None


def compared(folder: str, regime: Regime, seeds: list[int]) -> dict[str, Any]:
    """The comparison of a regime; resumable."""
    from sadm.core.progress import ConsoleReporter
    from sadm.experiments.compare import compare

    with ConsoleReporter() as reporter:
        return compare(config_of(regime, seeds), RUNS / folder, reporter)


def config_of(regime: Regime, seeds: list[int]) -> CompareConfig:
    """What a regime compares."""
    from sadm.core.config import merge
    from sadm.experiments.config import CompareConfig

    change = regime.change
    if regime.starts_from_plain:
        change = merge(change, {"start_from": relative(plain_start(regime.recipe))})
    return CompareConfig(
        train=pinned_recipe(regime.recipe, change),
        arms={arm: ARMS[arm] for arm in regime.arms},
        samplers=regime.samplers,
        per_class=regime.per_class,
        groups=4 if regime.recipe == "digits" else 1,
        seeds=seeds,
    )


def plain_start(recipe: str) -> Path:
    """A plain model, trained with a search seed, for the regime that continues one."""
    from sadm.training.run import train

    out = RUNS / NAME / f"start-{recipe}"
    change = {"signal": "none", "seed": SEARCH_SEEDS[0], "optimiser": {"steps": START_STEPS}, "log": {"samples": 0}}
    train(pinned_recipe(recipe, change), out)
    return out


def row(name: str, regime: Regime, comparison: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a regime: every arm's ratios by seed, costs and conditions."""
    measured = comparison if regime.judged_at is None else comparison["samplers"][regime.judged_at]
    kept = {
        "regime": name,
        "title": regime.title,
        "seeds": comparison["protocol"]["seeds"],
        "deciding": [judge for judge, facts in comparison["judges"].items() if facts["decides"]],
        "floor": comparison["floor"],
        "arms": measured["arms"],
        "equal_steps": measured["equal_steps"],
        "ratios": measured["ratios"],
        "cost": comparison["cost"],
        "steps": {arm: facts["steps"] for arm, facts in comparison["arms"].items()},
        "diverged": {arm: facts["diverged"] for arm, facts in comparison["arms"].items()},
        "sampler": comparison["protocol"]["sampler"],
        "sampler_changes": REGIMES[regime.runs_of].samplers[regime.judged_at]
        if regime.runs_of and regime.judged_at
        else {},
        "provenance": comparison["provenance"],
    }
    return kept | {part: comparison[part] for part in ("per_class", "cost_to_plain") if part in comparison}
