"""Does the density of training noise levels explain what structure guidance gains? Fashion-MNIST at 16x16, search seed.

The game plays on each batch's noisiest images. Plain training that simply sees more high noise is the control to beat.

    python -m benchmarks.noise_density --run        # needs Fashion-MNIST: make fashion-mnist
    python -m benchmarks.noise_density --summary
"""

from __future__ import annotations

from typing import Any

from benchmarks.common import PLAIN_AND_GAME, RUNS, command_line, store, stored
from benchmarks.pinned import pinned_recipe

NAME = "noise_density"
MEANS = [-1.2, -0.4]
SEEDS = [0]
STEPS = 400
COST_STEPS = 100


def run() -> None:
    """Trains what is missing, then stores one row for each density."""
    from sadm.core.progress import ConsoleReporter
    from sadm.experiments.compare import compare
    from sadm.experiments.config import CompareConfig

    rows = []
    for mean in MEANS:
        change = {
            "process": {"p_mean": mean, "p_std": 1.2},
            "optimiser": {"steps": STEPS},
            "sampling": {"solver": "heun", "steps": 9},
            "structure": {"encoder_steps": 600},
        }
        train = pinned_recipe("fashion_mnist_16", change)
        config = CompareConfig(train=train, arms=PLAIN_AND_GAME, seeds=SEEDS, groups=1, cost_steps=COST_STEPS)
        with ConsoleReporter() as reporter:
            comparison = compare(config, RUNS / NAME / f"p_mean={mean}", reporter)
        rows.append(row(mean, comparison))
        store(NAME, "summary", {"rows": rows})


def row(mean: float, comparison: dict[str, Any]) -> dict[str, Any]:
    """What one density gave: FD - floor by judge and arm, and where it comes from."""
    arms = {
        "plain": comparison["arms"]["plain"],
        "sadm_equal_cost": comparison["arms"]["sadm"],
        "sadm_equal_steps": comparison["equal_steps"]["sadm"],
    }
    return {
        "p_mean": mean,
        "seeds": SEEDS,
        "excess": {
            name: {judge: arm["fd"][judge]["mean"] - floor for judge, floor in comparison["floor"].items()}
            for name, arm in arms.items()
        },
        "steps": {name: arm["steps"] for name, arm in arms.items()},
        "label_accuracy": {name: arm["label_accuracy"] for name, arm in arms.items()},
        "cpu_seconds": {name: arm["cpu_seconds"] for name, arm in arms.items()},
        "provenance": comparison["provenance"],
    }


if __name__ == "__main__":
    command_line(__doc__, run, lambda: stored(NAME, "summary"))
