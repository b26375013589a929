"""How much better are the packaged recipes than those that earlier benchmarks pinned? Plain training alone.

Changes are tried with search seeds at equal cost; the best of them is then trained beside the pinned recipe with report seeds, at
equal steps and at equal cost. The packaged recipe has it where that makes it better at equal cost, in every judge that decides,
and is the pinned one elsewhere. The recipe for 28x28 pixels is what `benchmarks.peers` found.

python -m benchmarks.recipes --run        # resumable; those of Fashion-MNIST need it: make fashion-mnist
python -m benchmarks.recipes --summary
python -m benchmarks.recipes --verify digits
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from benchmarks.common import DECIDING, RUNS, change, command_line_of_parts, result_path, store, stored
from benchmarks.paired import cost_beside, ratio, ratios_by_seed, rows_of_arms, with_interval
from benchmarks.pinned import pinned_recipe
from benchmarks.structure.regimes import REPORT_SEEDS, SEARCH_SEEDS
from benchmarks.verifying import Claim

if TYPE_CHECKING:
    from sadm.experiments.config import CompareConfig

NAME = "recipes"
PINNED = "plain"
"""The arm of the pinned recipe: a comparison's first is called that."""


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


def unets(p_mean: float) -> dict[str, dict[str, Any]]:
    """UNets as `benchmarks.peers` found them for 28x28 pixels, with Muon at two learning rates, and one on squares of pixels."""
    nets = {"UNet": {"channels": [16, 32, 64]}, "UNet on 2x2 squares": {"patch": 2, "channels": [32, 32]}}
    return {
        f"{words} - Muon at {rate:g}": {
            "net": {"kind": "unet", "unet": {"layers": 1, **sizes}},
            "optimiser": {"kind": "muon", "learning_rate": rate, "batch": 16},
            "process": {"p_mean": round(p_mean + 0.6, 2)},
        }
        for words, sizes in nets.items()
        for rate in (1.5e-3, 4.5e-3)
    }


RECIPES = {
    "digits": Recipe(around(4e-3, -0.4)),
    "fashion_mnist_8": Recipe(around(4e-3, -0.4)),
    "fashion_mnist_16": Recipe(around(2e-3, -0.4) | unets(-0.4)),
    "folder32_small": Recipe(
        around(2e-3, -0.8) | unets(-0.8), {"source": "surfaces:count=3000,size=32,seed=21", "held_out": 0.6}
    ),
}


def run(names: Sequence[str]) -> None:
    """Trains what is missing and stores a result for each recipe; what is stored is not run again."""
    from sadm.core.provenance import provenance

    for name in (name for name in names if not result_path(NAME, name).exists()):
        search = searched(name)
        found = {"recipe": name, "data": RECIPES[name].data, "search": search, "best": best(search["rows"])}
        store(NAME, name, {**found, "report": report(name, found["best"]), "provenance": provenance()})


def searched(name: str) -> dict[str, Any]:
    """Every change with search seeds, for the steps that the pinned recipe's cost affords.

    Steps of the same network, batch and kind of optimiser take equally long, so that one of them is measured.
    """
    config, folder = comparison(name, RECIPES[name].tried, SEARCH_SEEDS), RUNS / NAME / f"{name}-search"
    whole = config.train.optimiser.steps
    like = {arm: _first_like(config, arm) for arm in config.arms}
    afforded = {
        arm: whole if arm == PINNED else cost_beside(config, folder, arm).equal_cost_steps(whole)
        for arm in dict.fromkeys(like.values())
    }
    steps = {arm: afforded[first] for arm, first in like.items()}
    return {"seeds": [*SEARCH_SEEDS], "steps": steps, "rows": rows_of_arms(config, folder, steps)}


def _first_like(config: CompareConfig, arm: str) -> str:
    """The first arm whose steps take as long as those of `arm`."""

    def of_a_step(name: str) -> tuple[Any, ...]:
        own = config.arm_config(name, 0)
        return own.net, own.optimiser.kind, own.optimiser.batch

    return next(name for name in config.arms if of_a_step(name) == of_a_step(arm))


def comparison(name: str, arms: dict[str, dict[str, Any]], seeds: Sequence[int]) -> CompareConfig:
    """The pinned recipe and changes of it, plain."""
    from sadm.experiments.config import CompareConfig

    train = pinned_recipe(name, {"data": RECIPES[name].data, "log": {"samples": 0}})
    plain = {arm: {"signal": "none", **own} for arm, own in {PINNED: {}, **arms}.items()}
    return CompareConfig(train=train, arms=plain, seeds=[*seeds], groups=1)


def best(rows: dict[str, dict[str, Any]]) -> str:
    """The change with the smallest FD - floor: means over seeds, over the pinned recipe's, averaged over judges.

    A judge at whose floor a training of the pinned recipe ends tells nothing apart, and does not count.
    """
    pinned = rows[PINNED]["excess"]
    counting = [judge for judge in DECIDING if min(pinned[judge]) > 0] or list(DECIDING)
    whole = {arm: row["excess"] for arm, row in rows.items() if arm != PINNED and not row["diverged"]}
    return min(whole, key=lambda arm: fmean(_relative(whole[arm], pinned, judge) for judge in counting))


def _relative(excess: dict[str, list[float]], pinned: dict[str, list[float]], judge: str) -> float:
    return fmean(excess[judge]) / fmean(pinned[judge])


def report(name: str, arm: str) -> dict[str, Any]:
    """The recipe with this change beside the pinned one: rows at equal steps and at equal cost."""
    config, folder = comparison(name, {arm: RECIPES[name].tried[arm]}, REPORT_SEEDS), RUNS / NAME / name
    whole = config.train.optimiser.steps
    rows = rows_of_arms(config, folder, dict.fromkeys(config.arms, whole))
    cost = cost_beside(config, folder, arm)
    afforded = cost.equal_cost_steps(whole)
    return {
        "seeds": [*REPORT_SEEDS],
        "step_ratio": cost.step_ratio,
        "steps": {"equal_steps": whole, "equal_cost": afforded},
        "equal_steps": rows,
        "equal_cost": {PINNED: rows[PINNED], **rows_of_arms(config, folder, {arm: afforded})},
    }


def is_taken(found: dict[str, Any]) -> bool:
    """Whether the best change makes the recipe better at equal cost, by the rule of every comparison.

    Judges at whose floor a training ends tell nothing apart; one at least must.
    """
    from sadm.experiments.statistics import Interval, outcome

    own = ratios(found["report"]["equal_cost"])
    telling = [Interval(**own[judge]) for judge in DECIDING if own[judge]["mean"] is not None]
    return outcome(telling) == "better"


def results() -> dict[str, Any]:
    """What is stored, by recipe."""
    return {name: stored(NAME, name) for name in RECIPES if result_path(NAME, name).exists()}


def summary() -> dict[str, Any]:
    """By recipe the best change, whether it was taken, its cost, and by judge the ratio of FD - floor to the pinned one's."""
    return {
        name: {
            "best": found["best"],
            "taken": is_taken(found),
            "step_ratio": found["report"]["step_ratio"],
            "seeds": found["report"]["seeds"],
            **{budget: ratios(found["report"][budget]) for budget in ("equal_steps", "equal_cost")},
        }
        for name, found in results().items()
    }


def ratios(rows: dict[str, Any]) -> dict[str, Any]:
    """By judge FD - floor of the one change in these rows over the pinned recipe's."""
    (arm,) = rows.keys() - {PINNED}
    return {judge: ratio(rows, arm, PINNED, judge) for judge in rows[PINNED]["excess"]}


def claim_of(name: str, arm: str | None = None) -> Claim:
    """What is stored of the best change at equal steps, report seeds, or of one that was tried at equal cost, search seeds.

    Raises:
        UserError: no such change.
    """
    from sadm.core.errors import UserError

    found, tried = stored(NAME, name), RECIPES[name].tried
    if arm not in (None, *tried):
        raise UserError(f"{name} has no arm '{arm}'; there are {', '.join(tried)}.")
    if arm is None:
        arm, part, rows = found["best"], found["report"], found["report"]["equal_steps"]
        config, steps = (
            comparison(name, {arm: tried[arm]}, REPORT_SEEDS),
            dict.fromkeys((PINNED, arm), part["steps"]["equal_steps"]),
        )
    else:
        part, rows = found["search"], found["search"]["rows"]
        config, steps = comparison(name, tried, SEARCH_SEEDS), {one: part["steps"][one] for one in (PINNED, arm)}
    return Claim(config, arm, steps, config.seeds, ratios_by_seed(rows, arm, PINNED))


def section() -> str | None:
    """The section of docs/results.md; None before there is a result."""
    found = results()
    if not found:
        return None
    lines = [
        "## What makes the recipes better",
        "",
        f"`python -m benchmarks.recipes --run` (plain training; the recipes that earlier benchmarks used are in "
        f"`benchmarks/pinned`. The change with the smallest FD - floor at equal cost, search seeds "
        f"{', '.join(map(str, SEARCH_SEEDS))}, is compared with seeds {', '.join(map(str, REPORT_SEEDS))}, and taken where it is "
        f"better at equal cost in every judge of {' and '.join(DECIDING)} that tells something apart; with 95 % intervals)",
        "",
        "| recipe | best change | taken | judge | FD - floor, pinned | equal steps | equal cost | cost of a step |",
        f"|{' --- |' * 8}",
    ]
    for name, one in found.items():
        own, taken = one["report"], "yes" if is_taken(one) else "no"
        steps, cost = ratios(own["equal_steps"]), ratios(own["equal_cost"])
        for judge, values in own["equal_steps"][PINNED]["excess"].items():
            lines.append(
                f"| {name} | {one['best']} | {taken} | {judge} | {fmean(values):.3g} | {with_interval(steps[judge])} | "
                f"{with_interval(cost[judge])} | {change(own['step_ratio'])} |"
            )
    lines += [
        "",
        "Everything that was tried, at equal cost: FD - floor against the pinned recipe, means over search seeds; a dash where "
        "one of them is at the floor, nothing where it was not tried:",
        "",
        f"| change | {' | '.join(f'{name}, {judge}' for name in found for judge in DECIDING)} |",
        f"|{' --- |' * (1 + len(found) * len(DECIDING))}",
    ]
    for arm in dict.fromkeys(arm for one in found.values() for arm in one["search"]["rows"] if arm != PINNED):
        cells = [_cell(one["search"]["rows"], arm, judge) for one in found.values() for judge in DECIDING]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(rows: dict[str, Any], arm: str, judge: str) -> str:
    if arm not in rows:
        return ""
    excess, pinned = rows[arm]["excess"], rows[PINNED]["excess"]
    if rows[arm]["diverged"]:
        return "diverged"
    if min(*excess[judge], *pinned[judge]) <= 0:
        return "-"
    return change(_relative(excess, pinned, judge))


if __name__ == "__main__":
    command_line_of_parts(__doc__, [*RECIPES], run, summary, claim_of, [*RECIPES])
