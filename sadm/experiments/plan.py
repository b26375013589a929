"""Which training runs a comparison is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sadm.core.files import read_json
from sadm.experiments.config import CONTROL, CompareConfig, Experiment
from sadm.experiments.cost import ArmCost

RUNS, RESULT, LATENTS = "runs", "result.json", "latents"
STRUCTURE, AUDIT, DOWNSTREAM, REPRESENTATION = "structure_metric", "audit", "downstream", "representation"
MEASUREMENTS = (STRUCTURE, AUDIT, REPRESENTATION, DOWNSTREAM)
"""Options of a comparison, and what its results then hold; the quicker ones first."""
GRID_IMAGES = 60
"""Samples of an arm that a report shows."""


@dataclasses.dataclass(frozen=True)
class RunJob:
    """One training run of a comparison.

    Attributes:
        arm: its name.
        seed: of the run.
        steps: training steps.
    """

    arm: str
    seed: int
    steps: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.arm}-{self.steps}-steps-seed-{self.seed}"

    def folder(self, comparison: Path) -> Path:
        """Its run folder."""
        return comparison / RUNS / self.name

    def read_result(self, comparison: Path) -> dict[str, Any] | None:
        """Its stored result; None before there is one."""
        path = self.folder(comparison) / RESULT
        return read_json(path) if path.exists() else None

    def is_complete(self, comparison: Path, config: Experiment) -> bool:
        """Whether its result holds everything that `config` asks for, or says that the training diverged."""
        result = self.read_result(comparison)
        return result is not None and (
            result["diverged"] or not (missing_evaluations(result, config) or missing_measurements(result, config))
        )


def steps_at(config: CompareConfig, costs: Mapping[str, ArmCost], arm: str, share: float = 1.0) -> int:
    """Training steps of an arm that cost, at most, this share of plain training's whole budget; at least 1."""
    budget = share * config.train.optimiser.steps
    return max(1, round(budget)) if arm == CONTROL else costs[arm].equal_cost_steps(budget)


def planned_jobs(
    config: CompareConfig, costs: Mapping[str, ArmCost], seeds: Mapping[str, Sequence[int]] | None = None
) -> list[RunJob]:
    """Every run, as far as it is known: an arm's runs at equal cost are once its cost has been measured.

    Args:
        config: the comparison.
        costs: by arm, as far as measured.
        seeds: by arm, those that it gets; None = all. Where they are given, runs come seed by seed, at equal cost first, since
            further seeds depend on these.
    """
    budgets = {arm: [config.train.optimiser.steps] for arm in config.arms}
    for arm in config.arms:
        if arm == CONTROL or arm in costs:
            budgets[arm] += [steps_at(config, costs, arm, share) for share in (1.0, *config.cost_shares)]
    longest = max(map(len, budgets.values()))
    places = [(place, seed) for place in range(longest) for seed in config.seeds]
    if seeds is not None:
        budgets = {
            arm: steps if arm == CONTROL else [*steps[1:2], *steps[:1], *steps[2:]] for arm, steps in budgets.items()
        }
        places = [(place, seed) for seed in config.seeds for place in range(longest)]
    jobs = [
        RunJob(arm, seed, budgets[arm][place])
        for place, seed in places
        for arm in config.arms
        if place < len(budgets[arm]) and (seeds is None or seed in seeds[arm])
    ]
    return list(dict.fromkeys(jobs))  # budgets may come to equal steps


def expected_runs(config: CompareConfig, seeds: Mapping[str, int] | None = None) -> int:
    """About how many runs there will be.

    Args:
        config: the comparison.
        seeds: by arm, how many it gets at most; None = all.
    """
    budgets = {arm: (1 if arm == CONTROL else 2) + len(config.cost_shares) for arm in config.arms}
    return sum(count * (seeds or {}).get(arm, len(config.seeds)) for arm, count in budgets.items())


def missing_evaluations(result: Mapping[str, Any], config: Experiment) -> list[str | None]:
    """Samplers that a trained model has still to be judged with; None stands for the main one."""
    main = result.get("evaluation")
    missing: list[str | None] = []
    unjudged = not set(config.judges) <= set(result.get("judges", ()))
    if main is None or unjudged or (config.per_class and "classes" not in main):
        missing.append(None)
    return missing + [name for name in config.samplers if unjudged or name not in result.get("evaluations", {})]


def missing_measurements(result: Mapping[str, Any], config: Experiment) -> list[str]:
    """Which of `MEASUREMENTS` are asked for, and not in a result yet, or not in all judges' features."""
    unjudged = not set(config.judges) <= set(result.get(STRUCTURE, {}).get("judges", ()))
    lacking = [name for name in MEASUREMENTS if name not in result or (name == STRUCTURE and unjudged)]
    return [name for name in lacking if getattr(config, name)]
