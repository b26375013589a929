"""The section of docs/results.md, and the summary."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.common import result_path, stored

NAME = "plan"
DEFINITIONS = """`sadm plan --calibrate` trains a recipe's network and smaller versions of it on random images; the recipe itself
is trained for {steps} steps, its schedule shortened to that, on its own images, again and again at the same time in another
process. CPU-seconds of a step, on average over the schedule, and the most memory that the process had, Python and torch among
it. Medians over {rounds}; ratios are predicted over measured, in brackets the least and the largest of the rounds. What is
aimed at is 0.85 to 1.15."""
QUANTITIES = ("step_seconds", "peak_mib")


def section() -> str | None:
    """The stored result; None where there is none."""
    if not result_path(NAME, "result").exists():
        return None
    found = stored(NAME, "result")
    rounds = max(map(len, found["recipes"].values()))
    counted = "one round" if rounds == 1 else f"up to {rounds} rounds"
    lines = ["## Is a training as dear as planned?", "", "`python -m benchmarks.plan --run`", ""]
    lines += [DEFINITIONS.format(steps=found["steps"], rounds=counted), ""]
    lines += [
        "| recipe | arm | CPU-seconds a step: predicted | measured | ratio | peak MiB: predicted | measured | ratio |",
        f"|{' --- |' * 8}",
    ]
    for recipe, arms in summary(found).items():
        for arm, row in arms.items():
            cells = [cell for name in QUANTITIES for cell in _cells(row[name])]
            lines.append(f"| {recipe} | {arm} | {' | '.join(cells)} |")
    where = found["provenance"]
    lines += [
        "",
        f"Commit {where['commit']}, torch {where['torch']}, {where['machine']}.",
        "",
    ]
    return "\n".join(lines)


def _cells(found: dict[str, float]) -> tuple[str, str, str]:
    span = f"{found['least_ratio']:.3f} to {found['largest_ratio']:.3f}"
    return f"{found['predicted']:.4g}", f"{found['measured']:.4g}", f"{found['ratio']:.3f} ({span})"


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """By recipe and arm, each quantity predicted and measured, and the ratio over rounds."""
    return {
        recipe: {arm: {name: _ratio([one[arm] for one in rounds], name) for name in QUANTITIES} for arm in rounds[0]}
        for recipe, rounds in found["recipes"].items()
        if rounds
    }


def _ratio(rounds: list[dict[str, Any]], name: str) -> dict[str, float]:
    ratios = [one["predicted"][name] / one["measured"][name] for one in rounds]
    return {
        "predicted": statistics.median(one["predicted"][name] for one in rounds),
        "measured": statistics.median(one["measured"][name] for one in rounds),
        "ratio": statistics.median(ratios),
        "least_ratio": min(ratios),
        "largest_ratio": max(ratios),
    }
