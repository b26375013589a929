"""Does the solver's error explain what structure guidance gains? Fashion-MNIST at 8x8, search seeds.

The same trained models are sampled with Heun's method and with DPM-Solver++(2M). What a better solver gives plain training
for nothing is no gain of guidance.

    python -m benchmarks.solvers --run        # needs Fashion-MNIST: make fashion-mnist
    python -m benchmarks.solvers --summary
"""

from __future__ import annotations

from typing import Any

from benchmarks.common import PLAIN_AND_GAME, RUNS, SEARCHED_FROM, change, command_line, store, stored
from benchmarks.pinned import pinned_recipe

NAME = "solvers"
SEEDS = [0, 1]
MAIN = "DPM-Solver++ 2M 17 NFE"
SAMPLERS: dict[str, dict[str, Any]] = {
    "Heun 17 NFE": {"solver": "heun", "steps": 9},
    "Heun 35 NFE": {"solver": "heun", "steps": 18},
    "DPM-Solver++ 2M 9 NFE": {"steps": 9, "sigma_min": 0.02, "sigma_max": 20.0},
    "DPM-Solver++ 2M 5 NFE": {"steps": 5, "sigma_min": 0.1, "sigma_max": 20.0},
}


def run() -> None:
    """Trains what is missing, then stores one row for each sampler."""
    from sadm.core.progress import ConsoleReporter
    from sadm.experiments.compare import compare
    from sadm.experiments.config import CompareConfig

    config = CompareConfig(
        train=pinned_recipe("fashion_mnist_8", {"log": {"samples": 0}, "structure": SEARCHED_FROM}),
        arms=PLAIN_AND_GAME,
        seeds=SEEDS,
        groups=1,
        cost_steps=100,
        samplers=SAMPLERS,
    )
    with ConsoleReporter() as reporter:
        comparison = compare(config, RUNS / NAME, reporter)
    parts = {name: comparison["samplers"][name] for name in SAMPLERS}
    rows = [row(name, part, comparison["floor"]) for name, part in {**parts, MAIN: comparison}.items()]
    store(NAME, "summary", {"seeds": SEEDS, "rows": rows, "provenance": comparison["provenance"]})


def row(sampler: str, part: dict[str, Any], floor: dict[str, float]) -> dict[str, Any]:
    """FD - floor by arm and judge with one sampler, means over seeds, and the paired ratios at equal steps."""
    arms = {"plain": part["arms"]["plain"], "sadm_equal_steps": part["equal_steps"]["sadm"]}
    return {
        "sampler": sampler,
        "excess": {
            name: {judge: arm["fd"][judge]["mean"] - floor[judge] for judge in floor} for name, arm in arms.items()
        },
        "label_accuracy": {name: arm["label_accuracy"] for name, arm in arms.items()},
        "ratio_equal_steps": {judge: ratio["mean"] for judge, ratio in part["ratios"]["equal_steps"]["sadm"].items()},
    }


def section(found: dict[str, Any]) -> str:
    """The section of docs/results.md."""
    judges = list(found["rows"][0]["ratio_equal_steps"])
    lines = [
        "## Does the solver's error explain the gain?",
        "",
        f"`python -m benchmarks.solvers --run` (Fashion-MNIST at 8x8; search seeds {', '.join(map(str, found['seeds']))}, too "
        "few for an interval; the same trained models with every sampler; SADM at equal steps)",
        "",
        f"| sampler | {' | '.join(f'plain, FD - floor, {judge} | SADM' for judge in judges)} | labels right, plain | SADM |",
        f"|{' --- |' * (2 * len(judges) + 3)}",
    ]
    for row in found["rows"]:
        cells = [f"{row['excess']['plain'][judge]:.4g} | {change(row['ratio_equal_steps'][judge])}" for judge in judges]
        right = " | ".join(f"{share:.1%}" for share in row["label_accuracy"].values())
        lines.append(f"| {row['sampler']} | {' | '.join(cells)} | {right} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    command_line(__doc__, run, lambda: stored(NAME, "summary"))
