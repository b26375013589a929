"""How much better are the packaged recipes than those that earlier benchmarks pinned? Plain training alone.

Changes are tried with search seeds; the best of them, which the packaged recipe has, is then trained beside the pinned one with
report seeds, at equal steps and at equal cost. The recipe for 28x28 pixels is what `benchmarks.peers` found.

python -m benchmarks.recipes --run        # resumable; those of Fashion-MNIST need it: make fashion-mnist
python -m benchmarks.recipes --summary
python -m benchmarks.recipes --verify digits
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from benchmarks.common import RUNS, change, command_line_of_parts, result_path, store, stored
from benchmarks.paired import cost_beside, ratio, ratios_by_seed, row_of_arm, rows_of_arms, train_all, with_interval
from benchmarks.pinned import pinned_recipe
from benchmarks.structure.regimes import REPORT_SEEDS, SEARCH_SEEDS
from benchmarks.verifying import Claim

if TYPE_CHECKING:
    from sadm.experiments.config import CompareConfig

NAME = "recipes"
PINNED, PACKAGED = "plain", "packaged"
"""Arms; a comparison's first is called plain."""
DECIDING = ("mlp", "pixels")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What was tried for a recipe.

    Attributes:
        tried: changes of the pinned recipe.
        data: change of the images, where the recipe leaves them to its user.
    """

    tried: dict[str, dict[str, Any]]
    data: dict[str, Any] = dataclasses.field(default_factory=dict)


def around(rate: float, p_mean: float) -> dict[str, dict[str, Any]]:
    """Learning rates of both optimisers around a recipe's own, and other noise levels with Muon at twice of it."""

    def optimiser(kind: str, factor: float) -> dict[str, Any]:
        return {"optimiser": {"kind": kind, "learning_rate": factor * rate}}

    rates = {"half the rate": 0.5, "the same rate": 1.0, "twice the rate": 2.0, "four times the rate": 4.0}
    levels = {"lower noise": -0.6, "higher noise": 0.6, "highest noise": 1.2}
    return {
        **{f"AdamW at {words}": optimiser("adamw", factor) for words, factor in rates.items() if factor in (0.5, 2.0)},
        **{f"Muon at {words}": optimiser("muon", factor) for words, factor in rates.items() if factor >= 1.0},
        **{
            f"Muon at twice the rate - {words}": {
                **optimiser("muon", 2.0),
                "process": {"p_mean": round(p_mean + more, 2)},
            }
            for words, more in levels.items()
        },
    }


RECIPES = {
    "digits": Recipe(around(4e-3, -0.4)),
    "fashion_mnist_8": Recipe(around(4e-3, -0.4)),
    "fashion_mnist_16": Recipe(around(2e-3, -0.4)),
    "folder32_small": Recipe(around(2e-3, -0.8), {"source": "surfaces:count=3000,size=32,seed=21", "held_out": 0.6}),
}


def run(names: Sequence[str]) -> None:
    """Trains what is missing and stores a result for each recipe."""
    from sadm.core.provenance import provenance

    for name in names:
        config = comparison(name, RECIPES[name].tried, SEARCH_SEEDS)
        steps = config.train.optimiser.steps
        rows = rows_of_arms(config, RUNS / NAME / f"{name}-search", steps)
        found = {
            "recipe": name,
            "steps": steps,
            "data": RECIPES[name].data,
            "search": {"seeds": [*SEARCH_SEEDS], "rows": rows},
            "taken": best(rows),
        }
        store(NAME, name, {**found, "report": report(name, found["taken"], steps), "provenance": provenance()})


def comparison(name: str, arms: dict[str, dict[str, Any]], seeds: Sequence[int]) -> CompareConfig:
    """The pinned recipe and changes of it, plain."""
    from sadm.experiments.config import CompareConfig

    train = pinned_recipe(name, {"data": RECIPES[name].data, "log": {"samples": 0}})
    plain = {arm: {"signal": "none", **own} for arm, own in {PINNED: {}, **arms}.items()}
    return CompareConfig(train=train, arms=plain, seeds=[*seeds], groups=1)


def best(rows: dict[str, dict[str, Any]]) -> str:
    """The change with the smallest FD - floor: means over seeds, over the pinned recipe's, averaged over judges."""
    whole = {arm: row["excess"] for arm, row in rows.items() if arm != PINNED and not row["diverged"]}
    return min(whole, key=lambda arm: fmean(_relative(whole[arm], rows[PINNED]["excess"], judge) for judge in DECIDING))


def _relative(excess: dict[str, list[float]], pinned: dict[str, list[float]], judge: str) -> float:
    return fmean(excess[judge]) / fmean(pinned[judge])


def report(name: str, taken: str, steps: int) -> dict[str, Any]:
    """The recipe with this change beside the pinned one: rows at equal steps and at equal cost."""
    config = comparison(name, {PACKAGED: RECIPES[name].tried[taken]}, REPORT_SEEDS)
    folder = RUNS / NAME / name
    rows = rows_of_arms(config, folder, steps)
    cost = cost_beside(config, folder, PACKAGED)
    afforded = cost.equal_cost_steps(steps)
    floor = train_all(config, folder, {PACKAGED: afforded})
    own = row_of_arm(folder, PACKAGED, REPORT_SEEDS, afforded, floor)
    return {
        "seeds": [*REPORT_SEEDS],
        "step_ratio": cost.step_ratio,
        "steps_at_equal_cost": afforded,
        "equal_steps": rows,
        "equal_cost": {**rows, PACKAGED: own},
    }


def results() -> dict[str, Any]:
    """What is stored, by recipe."""
    return {name: stored(NAME, name) for name in RECIPES if result_path(NAME, name).exists()}


def summary() -> dict[str, Any]:
    """By recipe the change that it took, what that costs, and by judge the ratio of FD - floor to the pinned recipe's."""
    return {
        name: {
            "taken": found["taken"],
            "step_ratio": found["report"]["step_ratio"],
            "seeds": found["report"]["seeds"],
            **{budget: ratios(found["report"][budget]) for budget in ("equal_steps", "equal_cost")},
        }
        for name, found in results().items()
    }


def ratios(rows: dict[str, Any]) -> dict[str, Any]:
    """By judge the packaged recipe's FD - floor over the pinned one's."""
    return {judge: ratio(rows, PACKAGED, PINNED, judge) for judge in rows[PINNED]["excess"]}


def claim_of(name: str, arm: str | None = None) -> Claim:
    """What is stored of the change that a recipe took, or of one that was tried, at equal steps.

    Raises:
        UserError: no such change.
    """
    from sadm.core.errors import UserError

    found = stored(NAME, name)
    tried = RECIPES[name].tried
    if arm not in (None, PACKAGED, *tried):
        raise UserError(f"{name} has no arm '{arm}'; there are {PACKAGED}, {', '.join(tried)}.")
    if arm in tried:
        config, rows = comparison(name, tried, SEARCH_SEEDS), found["search"]["rows"]
    else:
        arm = PACKAGED
        config, rows = comparison(name, {PACKAGED: tried[found["taken"]]}, REPORT_SEEDS), found["report"]["equal_steps"]
    steps = dict.fromkeys((PINNED, arm), found["steps"])
    return Claim(config, arm, steps, config.seeds, ratios_by_seed(rows, arm, PINNED))


def section() -> str | None:
    """The section of docs/results.md; None before there is a result."""
    found = results()
    if not found:
        return None
    lines = [
        "## What made the recipes better",
        "",
        f"`python -m benchmarks.recipes --run` (plain training; the recipes that earlier benchmarks used are in "
        f"`benchmarks/pinned`. The change with the smallest FD - floor over the deciding judges {' and '.join(DECIDING)}, "
        f"search seeds {', '.join(map(str, SEARCH_SEEDS))}, was taken, and is compared with seeds "
        f"{', '.join(map(str, REPORT_SEEDS))}; with 95 % intervals)",
        "",
        "| recipe | taken | judge | FD - floor, pinned | equal steps | equal cost | cost of a step |",
        f"|{' --- |' * 7}",
    ]
    for name, one in found.items():
        own = one["report"]
        steps, cost = ratios(own["equal_steps"]), ratios(own["equal_cost"])
        for judge, values in own["equal_steps"][PINNED]["excess"].items():
            lines.append(
                f"| {name} | {one['taken']} | {judge} | {fmean(values):.3g} | {with_interval(steps[judge])} | "
                f"{with_interval(cost[judge])} | {change(own['step_ratio'])} |"
            )
    lines += [
        "",
        "Everything that was tried, FD - floor over that of the pinned recipe, means over seeds:",
        "",
        f"| change | {' | '.join(f'{name}, {judge}' for name in found for judge in DECIDING)} |",
        f"|{' --- |' * (1 + len(found) * len(DECIDING))}",
    ]
    for arm in dict.fromkeys(arm for one in found.values() for arm in one["search"]["rows"] if arm != PINNED):
        cells = [_cell(one["search"]["rows"], arm, judge) for one in found.values() for judge in DECIDING]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(rows: dict[str, Any], arm: str, judge: str) -> str:
    if rows[arm]["diverged"]:
        return "diverged"
    return change(_relative(rows[arm]["excess"], rows[PINNED]["excess"], judge))


if __name__ == "__main__":
    command_line_of_parts(__doc__, [*RECIPES], run, summary, claim_of, [*RECIPES])
