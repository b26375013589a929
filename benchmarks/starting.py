"""What does it bring to start a sampler as if it came from sigma = inf, at no cost? Plain models of Fashion-MNIST.

The same models draw from the same noise with the same evaluations, once from the noise alone and once as `from_infinity` does.

    python -m benchmarks.starting --run        # needs Fashion-MNIST: make fashion-mnist; resumable model by model
    python -m benchmarks.starting --run --only 8x8
    python -m benchmarks.starting --summary
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.common import RUNS, command_line_of_parts, result_path, store, stored
from benchmarks.paired import with_interval
from benchmarks.samplers import by_seed, judged, mean_excess, plain_model, recipe, steps_within

NAME = "starting"
SIZES = {"8x8": (0, 1, 2, 3, 4), "28x28": (0, 1)}
"""Seeds of the models, by image size."""
WAYS = {"from the noise alone": False, "from sigma = inf": True}
SAMPLERS = (("dpmpp_2m", 20), ("heun", 49))
"""Solver and network evaluations."""


def run(sizes: Sequence[str]) -> None:
    """Trains and draws what is missing, and stores a result for each image size; what is stored is not run again."""
    from sadm.core.provenance import provenance

    for size in (size for size in sizes if not result_path(NAME, size).exists()):
        of_seed = functools.partial(drawings, size, RUNS / NAME / size)
        parts = by_seed(of_seed, SIZES[size], processes=min(2, os.cpu_count() or 1))
        store(NAME, size, {"seeds": [*SIZES[size]], **gathered(parts), "provenance": provenance()})


def drawings(size: str, folder: Path, seed: int) -> dict[str, Any]:
    """What the judges say of one model, by sampler and way to start; kept once it is known."""
    from sadm.core.files import read_json, write_json
    from sadm.training.config import SamplingConfig

    path = folder / f"seed-{seed}.json"
    if path.exists():
        return read_json(path)
    train = recipe(size)
    model, evaluator = plain_model(train, folder, seed)
    excess: dict[str, dict[str, dict[str, float]]] = {}
    for solver, nfe in SAMPLERS:
        for way, begins in WAYS.items():
            sampling = SamplingConfig(solver=solver, steps=steps_within(solver, nfe), from_infinity=begins)
            drawing = judged(model, evaluator, seed, sampling)
            excess.setdefault(f"{solver} {nfe}", {})[way] = mean_excess([drawing], evaluator.floor)
    found = {"excess": excess, "floor": evaluator.floor, "images": evaluator.group, "steps": train.optimiser.steps}
    write_json(path, found)
    return found


def gathered(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What is stored of an image size: by sampler, way and judge FD - floor, model by model."""
    rows = {
        sampler: {
            way: {judge: [part["excess"][sampler][way][judge] for part in parts] for judge in parts[0]["floor"]}
            for way in WAYS
        }
        for sampler in parts[0]["excess"]
    }
    return {"excess": rows, **{key: parts[0][key] for key in ("floor", "images", "steps")}}


def results() -> dict[str, dict[str, Any]]:
    """What is stored, by image size."""
    return {size: stored(NAME, size) for size in SIZES if result_path(NAME, size).exists()}


def summary() -> dict[str, Any]:
    """By image size, sampler and judge: FD - floor of both ways, and the ratio with its interval."""
    return {
        size: {
            sampler: {
                judge: {**{way: fmean(rows[way][judge]) for way in WAYS}, "ratio": gain(rows, judge)}
                for judge in found["floor"]
            }
            for sampler, rows in found["excess"].items()
        }
        for size, found in results().items()
    }


def gain(rows: dict[str, dict[str, list[float]]], judge: str) -> dict[str, Any]:
    """FD - floor from sigma = inf over that from the noise alone, model by model."""
    from sadm.experiments.statistics import paired_ratio

    before, after = (rows[way][judge] for way in WAYS)
    return paired_ratio(after, before).as_dict()


def section() -> str | None:
    """The section of docs/results.md; None before there is a result."""
    found = results()
    if not found:
        return None
    lines = [
        "## Where should a sampler start?",
        "",
        "`python -m benchmarks.starting --run` (plain models of Fashion-MNIST; the same models, noise and number of network "
        "evaluations; FD - floor, means over models, and the change with its 95 % interval over them)",
        "",
        f"| images | models | sampler, NFE | judge | {' | '.join(WAYS)} | change |",
        f"|{' --- |' * 7}",
    ]
    for size, one in found.items():
        for sampler, rows in one["excess"].items():
            for judge in one["floor"]:
                values = " | ".join(f"{fmean(rows[way][judge]):.4g}" for way in WAYS)
                lines.append(
                    f"| {size} | {len(one['seeds'])} | {sampler} | {judge} | {values} | {with_interval(gain(rows, judge))} |"
                )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    command_line_of_parts(__doc__, SIZES, run, summary)
