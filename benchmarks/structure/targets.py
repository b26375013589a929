"""What the project set itself as goals for structure guidance, and how far the stored results are from them."""

from __future__ import annotations

import dataclasses
import math
import statistics
from typing import Any

from benchmarks.common import change, stored
from benchmarks.structure.pairs import PAIRS
from benchmarks.structure.summary import BEST, cost_to_plain, over_regimes, stored_rows
from benchmarks.structure.trainings import NAME

MEAN, TWO_REGIMES, TIME, FEW_IMAGES, WORST, SABOTAGE, STEP, FLOPS = 0.80, 0.70, 0.7, 0.8, 1.15, 0.1, 1.15, 0.03

FEW = ("C300", "C1000")


@dataclasses.dataclass(frozen=True)
class Target:
    """A goal and what was reached.

    Attributes:
        goal: in words.
        asked: the bound, as it is printed.
        reached: likewise.
        met: whether it was.
    """

    goal: str
    asked: str
    reached: str
    met: bool


def target_lines(rows: list[dict[str, Any]]) -> list[str]:
    """The table of goals.

    Args:
        rows: the stored regimes, all of them.
    """
    lines = ["### Goals", "", "| goal | asked | reached | |", "| --- | --- | --- | --- |"]
    found = [*_gains(rows), *_steadiness(), *_costs()]
    return lines + [f"| {t.goal} | {t.asked} | {t.reached} | {'met' if t.met else 'missed'} |" for t in found]


def _gains(rows: list[dict[str, Any]]) -> list[Target]:
    by_name = {row["regime"]: row for row in rows}
    mean = over_regimes(rows, BEST)
    regimes = sorted((_mean(row["ratios"]["equal_cost"][BEST], row["deciding"]), row["regime"]) for row in rows)
    two = regimes[:2]
    shares = cost_to_plain(by_name["B"], BEST) or {}
    few = [(_mean(by_name[name]["ratios"]["equal_cost"][BEST], by_name[name]["deciding"]), name) for name in FEW]
    return [
        Target(
            "mean over the regimes, equal cost, its interval below 0",
            f"{change(MEAN)} or less",
            f"{change(mean['geometric_mean_ratio'])} ({change(mean['low'])} to {change(mean['high'])})",
            mean["geometric_mean_ratio"] <= MEAN and mean["high"] < 1,
        ),
        Target(
            "two regimes, equal cost (none was fixed beforehand; the two best)",
            f"{change(TWO_REGIMES)} or less",
            ", ".join(f"{name} {change(value)}" for value, name in two),
            all(value <= TWO_REGIMES for value, _ in two),
        ),
        Target(
            "share of plain training's cost to reach its FD (regime B)",
            f"{TIME:.0%} or less",
            ", ".join(f"{judge} {share_words(found)}" for judge, found in shares.items()),
            bool(shares) and all(found["outside"] is None and found["mean"] <= TIME for found in shares.values()),
        ),
        Target(
            "few images, equal cost",
            f"{change(FEW_IMAGES)} or less",
            ", ".join(f"{name} {change(value)}" for value, name in few),
            all(value <= FEW_IMAGES for value, _ in few),
        ),
    ]


def _steadiness() -> list[Target]:
    many = stored(NAME, "Z")
    deciding = stored(NAME, "B")["deciding"]
    highs = [many["ratios"][judge]["high"] for judge in deciding]
    worst = max(value for judge in deciding for value in many["ratios"][judge]["values"])
    gone = sum(map(len, many["diverged"].values()))
    sabotaged = {row["name"]: row for row in stored_rows([name for name in PAIRS if name.startswith("S")])}
    means = {name: [row["ratios"][judge]["mean"] for judge in deciding] for name, row in sabotaged.items()}
    means = {name: max(found, key=lambda value: abs(math.log(value))) for name, found in means.items()}
    return [
        Target(
            f"{len(many['seeds'])} pairs of the default: the mean's interval below 0",
            "below 0",
            "up to " + ", ".join(change(high) for high in highs),
            max(highs) < 1,
        ),
        Target("… the worst pair", f"{change(WORST)} or less", change(worst), worst <= WORST),
        Target("… diverged", "none", str(gone), gone == 0),
        Target(
            "sabotage: the mean, either way",
            f"within {SABOTAGE:.0%}",
            ", ".join(f"{PAIRS[name].title} {change(value)}" for name, value in means.items()),
            all(abs(value - 1) <= SABOTAGE for value in means.values()),
        ),
    ]


def _costs() -> list[Target]:
    overhead = stored(NAME, "flops")["networks"][-1]
    ratio = stored(NAME, "N8")["equal_cost"]["step_ratio"]
    return [
        Target(
            "cost of a step at 28x28, with the options of the gain",
            f"{change(STEP)} or less",
            change(ratio),
            ratio <= STEP,
        ),
        Target(
            f"operations beside {overhead['network']}",
            f"{FLOPS:.0%} or less",
            f"{overhead['overhead'][BEST]:.2%}",
            overhead["overhead"][BEST] <= FLOPS,
        ),
    ]


def _mean(ratios: dict[str, Any], deciding: list[str]) -> float:
    """Geometric mean over the deciding judges."""
    return statistics.geometric_mean(ratios[judge]["mean"] for judge in deciding)


def share_words(found: dict[str, Any]) -> str:
    """The share of a cost that was found by `cost_to_reach`, or the side of what was measured on which it lies."""
    return f"{found['mean']:.0%}" if found["outside"] is None else f"{found['outside']} {found['limit']:.0%}"
