"""Does a memory of past pairs help the game where batches are small? Digits, report seeds, equal steps.

Of a batch of 12, the game relates the noisiest 4: six pairs. A memory adds the embeddings of past ones.

    python -m benchmarks.pairs_memory --run
    python -m benchmarks.pairs_memory --summary
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.common import RUNS, command_line, result_path, store, stored
from benchmarks.paired import with_interval
from benchmarks.pinned import pinned_recipe

if TYPE_CHECKING:
    from sadm.experiments.config import CompareConfig

NAME = "pairs_memory"
SEEDS = (100, 101, 102, 103)
STEPS, BATCH = 1500, 12
GAMES = {
    f"{adversary} - memory {memory}": {"adversary": adversary, "memory": memory}
    for adversary in ("frozen", "ascend")
    for memory in (0, 60, 240)
}


def comparison() -> CompareConfig:
    """All arms."""
    from sadm.experiments.config import CompareConfig

    small = {"signal": "none", "optimiser": {"batch": BATCH}, "log": {"samples": 0, "every": 100}}
    games = {arm: {"signal": "structure", "structure": {**game, "every": 1}} for arm, game in GAMES.items()}
    arms = {"plain": {"signal": "none"}, **games}
    return CompareConfig(train=pinned_recipe("digits", small), arms=arms, seeds=[*SEEDS], groups=1)


def run() -> None:
    """Trains what is missing, then stores one row for each arm."""
    from benchmarks.paired import above_floor, seconds, train_all
    from sadm.core.provenance import provenance
    from sadm.experiments.runs import Runs
    from sadm.experiments.statistics import paired_ratio

    config = comparison()
    arms = config.arms
    floor = train_all(config, RUNS / NAME, dict.fromkeys(arms, STEPS))
    found = {arm: Runs.read(RUNS / NAME, arm, SEEDS, STEPS) for arm in arms}
    excess = {arm: {judge: above_floor(runs, judge, floor) for judge in floor} for arm, runs in found.items()}
    rows = [
        {
            "arm": arm,
            "excess": excess[arm],
            "against_plain": {
                judge: paired_ratio(own, excess["plain"][judge]).as_dict() for judge, own in excess[arm].items()
            },
            "cpu_seconds": [seconds(result) for result in runs.results],
        }
        for arm, runs in found.items()
    ]
    store(NAME, "summary", {"seeds": [*SEEDS], "rows": rows, "provenance": provenance()})


def section() -> str | None:
    """The section of docs/results.md; None before there is a result."""
    if not result_path(NAME, "summary").exists():
        return None
    found = stored(NAME, "summary")
    judges = list(found["rows"][0]["excess"])
    lines = [
        "## A memory of past pairs",
        "",
        f"`python -m benchmarks.pairs_memory --run` (digits, batches of {BATCH}, of which the game relates the noisiest third; "
        f"{STEPS} steps of each, seeds {', '.join(map(str, found['seeds']))}; FD - floor against plain training at equal steps "
        "with its 95 % interval)",
        "",
        f"| arm | CPU-seconds | {' | '.join(judges)} |",
        f"|{' --- |' * (2 + len(judges))}",
    ]
    for row in found["rows"]:
        ratios = [{} if row["arm"] == "plain" else row["against_plain"][judge] for judge in judges]
        cells = [_cell(ratio) for ratio in ratios]
        spent = sum(row["cpu_seconds"]) / len(row["cpu_seconds"])
        lines.append(f"| {row['arm']} | {spent:.0f} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(ratio: dict[str, Any]) -> str:
    return with_interval({"reason": "at the floor", **ratio}) if ratio else ""


if __name__ == "__main__":
    command_line(__doc__, run, lambda: stored(NAME, "summary"))
