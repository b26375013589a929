"""How few network evaluations are enough, and with which solver? Plain models of Fashion-MNIST, search seeds.

Every solver draws from the same noise with 10, 20, 50 and 250 evaluations, on the default grid, without guidance.

    python -m benchmarks.samplers --run        # needs Fashion-MNIST: make fashion-mnist; resumable drawing by drawing
    python -m benchmarks.samplers --run --only 8x8
    python -m benchmarks.samplers --summary
"""

from __future__ import annotations

import functools
import math
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.common import RUNS, command_line_of_parts, result_path, store, stored
from benchmarks.pinned import pinned_recipe

if TYPE_CHECKING:
    from sadm.evaluation import Evaluator
    from sadm.training.config import SamplingConfig, TrainConfig

NAME = "samplers"
SIZES = ("8x8", "28x28")
SEEDS = (0, 1)
BUDGETS = (10, 20, 50, 250)
GROUPS = 1
CLOSE = 1.02
"""Within 2 % counts as equal."""

Part = TypeVar("Part")
Excess = dict[str, dict[str, dict[str, float]]]
"""FD - floor by solver, budget and judge."""


def run(sizes: Sequence[str]) -> None:
    """Trains and draws what is missing, and stores a result for each image size; what is stored is not run again."""
    for size in (size for size in sizes if not result_path(NAME, size).exists()):
        store(NAME, size, measure(recipe(size), RUNS / NAME / size, processes=min(2, os.cpu_count() or 1)))


def recipe(size: str) -> TrainConfig:
    """What a model of images of this size is trained with."""
    from sadm.training.config import load_train_config

    return pinned_recipe("fashion_mnist_8") if size == "8x8" else load_train_config("fashion_mnist")


def measure(
    train: TrainConfig,
    folder: Path,
    seeds: Sequence[int] = SEEDS,
    budgets: Sequence[int] = BUDGETS,
    processes: int = 1,
) -> dict[str, Any]:
    """Means over the models of all seeds, by solver, budget and judge.

    Args:
        train: the recipe.
        folder: where models and drawings are kept.
        seeds: of the models.
        budgets: largest numbers of network evaluations.
        processes: how many models are at work at a time.
    """
    from sadm.core.provenance import provenance
    from sadm.diffusion import SOLVERS, solver_nfe
    from sadm.evaluation import Evaluator
    from sadm.training.run import split_for

    evaluator = Evaluator(split_for(train).held_out)
    of_seed = functools.partial(seed_parts, train, folder, budgets)
    parts = by_seed(of_seed, seeds, processes)
    solvers = {
        solver: {
            str(budget): mean_excess([part[solver, budget] for part in parts], evaluator.floor) for budget in budgets
        }
        for solver in SOLVERS
    }
    return {
        "seeds": [*seeds],
        "solvers": solvers,
        "nfe": {name: {str(b): solver_nfe(name, steps_within(name, b)) for b in budgets} for name in SOLVERS},
        "titles": {name: solver.title + (", eta 1" if solver.takes_eta else "") for name, solver in SOLVERS.items()},
        "deciding": [name for name, facts in evaluator.describe().items() if facts["decides"]],
        "floor": evaluator.floor,
        "images": evaluator.group * GROUPS,
        "steps": train.optimiser.steps,
        "cpu_seconds": sum(drawing["cpu_seconds"] for part in parts for drawing in part.values()),
        "provenance": provenance(),
    }


def seed_parts(
    train: TrainConfig, folder: Path, budgets: Sequence[int], seed: int
) -> dict[tuple[str, int], dict[str, Any]]:
    """What the judges say of one model, by solver and budget; the model is trained and each drawing made once."""
    from sadm.core.files import read_json, write_json
    from sadm.diffusion import SOLVERS

    model, evaluator = plain_model(train, folder, seed)
    found = {}
    for budget in sorted(budgets):
        for solver in SOLVERS:
            path = folder / "drawings" / f"seed-{seed}-{solver}-{budget}.json"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, judged(model, evaluator, seed, sampling_of(solver, budget)))
            found[solver, budget] = read_json(path)
    return found


def plain_model(train: TrainConfig, folder: Path, seed: int) -> tuple[Any, Evaluator]:
    """The model of a seed, trained in a folder of its own where it is not there yet, and its judges; on one thread."""
    import torch

    from sadm.core.config import build_config, merge
    from sadm.evaluation import Evaluator
    from sadm.training.config import TrainConfig
    from sadm.training.model_folder import load_model
    from sadm.training.run import split_for
    from sadm.training.run import train as run_training

    torch.set_num_threads(1)
    change = {"signal": "none", "seed": seed, "log": {"samples": 0}}
    config = build_config(TrainConfig, merge(train.model_dump(mode="json"), change), f"seed {seed}")
    run_training(config, folder / f"plain-seed-{seed}")
    return load_model(folder / f"plain-seed-{seed}"), Evaluator(split_for(train).held_out)


def by_seed(function: Callable[[int], Part], seeds: Sequence[int], processes: int) -> list[Part]:
    """What a function gives for each seed, some at a time, each in a process."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(function, seeds))


def judged(model: Any, evaluator: Evaluator, seed: int, sampling: SamplingConfig) -> dict[str, Any]:
    """What the judges say of one drawing, and the processor time that it took."""
    from sadm.core.devices import spent_seconds

    count = evaluator.group * GROUPS
    labels = model.training_labels(count, seed)
    start = spent_seconds(model.device)
    images = model.sample(count, seed, labels, sampling)
    seconds = spent_seconds(model.device) - start
    return {**evaluator.evaluate(images, labels).as_dict(), "cpu_seconds": seconds}


def sampling_of(solver: str, budget: int) -> SamplingConfig:
    """Default grid, no guidance; all noise drawn afresh where a solver leaves that open."""
    from sadm.diffusion import SOLVERS
    from sadm.training.config import SamplingConfig

    eta = 1.0 if SOLVERS[solver].takes_eta else 0.0
    return SamplingConfig.model_validate({"solver": solver, "steps": steps_within(solver, budget), "eta": eta})


def steps_within(solver: str, budget: int) -> int:
    """The most steps of a solver that take no more than `budget` network evaluations."""
    from sadm.diffusion import SOLVERS

    return (budget - 1) // SOLVERS[solver].evaluations + 1


def mean_excess(drawings: list[dict[str, Any]], floor: dict[str, float]) -> dict[str, float]:
    """FD - floor by judge, the mean over drawings."""
    return {judge: sum(part["fd"][judge] for part in drawings) / len(drawings) - low for judge, low in floor.items()}


def converged(excess: Excess, deciding: list[str]) -> dict[str, str]:
    """By solver, the least budget that is within 2 % of its own largest one in all deciding judges."""
    found = {}
    for solver, by_budget in excess.items():
        budgets = sorted(by_budget, key=int)
        found[solver] = next(b for b in budgets if worst_ratio(by_budget[b], by_budget[budgets[-1]], deciding) <= CLOSE)
    return found


def default_of(excess: Excess, nfe: dict[str, dict[str, int]], deciding: list[str]) -> dict[str, Any]:
    """The fewest evaluations within 2 % of the best that any solver reaches with the largest budget, in all deciding judges.

    Judge by judge the best may be another solver, so that none may come within 2 % in all: then the one whose worst judge is
    nearest, with ``within`` false.
    """
    largest = max((budget for by_budget in excess.values() for budget in by_budget), key=int)
    best = {judge: min(by_budget[largest][judge] for by_budget in excess.values()) for judge in deciding}
    rows = [
        (nfe[solver][budget], worst_ratio(values, best, deciding), solver)
        for solver, by_budget in excess.items()
        for budget, values in by_budget.items()
    ]
    close = [row for row in rows if row[1] <= CLOSE]
    count, ratio, solver = min(close) if close else min(rows, key=lambda row: row[1])
    return {"solver": solver, "nfe": count, "within": bool(close), "worst_ratio": ratio}


def worst_ratio(values: dict[str, float], best: dict[str, float], deciding: list[str]) -> float:
    """The largest ratio over the deciding judges; infinite where the best is at the floor and this is not."""
    return max(
        values[judge] / best[judge] if best[judge] > 0 else 1.0 if values[judge] <= best[judge] else math.inf
        for judge in deciding
    )


def results() -> dict[str, dict[str, Any]]:
    """What is stored, by image size."""
    return {size: stored(NAME, size) for size in SIZES if result_path(NAME, size).exists()}


def summary() -> dict[str, Any]:
    """By image size the stored numbers, and what follows from them."""
    return {size: conclusions(found) for size, found in results().items()}


def conclusions(found: dict[str, Any]) -> dict[str, Any]:
    """A stored result, and what follows from it."""
    excess, deciding = found["solvers"], found["deciding"]
    return {
        "solvers": excess,
        "converged_at": converged(excess, deciding),
        "default": default_of(excess, found["nfe"], deciding),
        **{key: found[key] for key in ("nfe", "deciding", "seeds", "images", "provenance")},
    }


def section() -> str | None:
    """The section of docs/results.md; None before there is a result."""
    parts = [table(size, found) for size, found in results().items()]
    opening = "## How few evaluations are enough?\n\n`python -m benchmarks.samplers --run`\n"
    return "\n".join([opening, *parts]) if parts else None


def table(size: str, found: dict[str, Any]) -> str:
    """What was found at one image size."""
    excess, deciding, where = found["solvers"], found["deciding"], found["provenance"]
    limit, default = converged(excess, deciding), default_of(excess, found["nfe"], deciding)
    budgets = sorted(next(iter(excess.values())), key=int)
    reach = "within 2 % of" if default["within"] else f"{default['worst_ratio'] - 1:.1%} from"
    lines = [
        f"Fashion-MNIST at {size}: plain models of {found['steps']} steps; search seeds "
        f"{', '.join(map(str, found['seeds']))}, too few for an interval; {found['images']} images each, labels at training "
        f"frequencies, the same noise for every solver, EDM grid, guidance scale 1, averaged weights. FD - floor; Heun takes "
        f"the largest odd number of evaluations, and DDIM with eta 0 is Euler's method on this path. Commit "
        f"{where['commit']}, torch {where['torch']}, {where['machine']}.",
        "",
        f"| solver | judge | {' | '.join(f'{budget} NFE' for budget in budgets)} | within 2 % of its last from |",
        f"|{' --- |' * (len(budgets) + 3)}",
    ]
    for solver, by_budget in excess.items():
        for judge in found["floor"]:
            values = " | ".join(f"{by_budget[budget][judge]:.4g}" for budget in budgets)
            enough = f"{limit[solver]} NFE" if judge in deciding else "for information"
            lines.append(f"| {found['titles'][solver]} | {judge} | {values} | {enough} |")
    lines += [
        "",
        f"The fewest evaluations {reach} the best with {budgets[-1]}, in both deciding judges: "
        f"{found['titles'][default['solver']]}, {default['nfe']} NFE.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    command_line_of_parts(__doc__, SIZES, run, summary)
