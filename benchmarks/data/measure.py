"""Elapsed times of contestants in turn."""

from __future__ import annotations

import dataclasses
import functools
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import device_name
from benchmarks.data.consumption import recipe_learner
from benchmarks.data.loaders import BATCH, Loader, Ours, TensorLoader, contestants, read_folder, write_folder
from sadm.core.devices import resolve_device, spent_seconds
from sadm.core.provenance import provenance
from sadm.training.config import recipe_names
from sadm.training.learner import Learner

OURS, DECODED = Ours.name, TensorLoader.name


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        images: in the folder.
        side: of its files.
        turns: of each contestant.
        slice_seconds: of a turn, at least.
        larger: sides of further files that are read, and how many.
        trainings: whether threads in training are measured.
    """

    images: int
    turns: int
    slice_seconds: float
    side: int = 32
    larger: tuple[tuple[int, int], ...] = ()
    trainings: bool = False


QUICK = Effort(images=960, turns=5, slice_seconds=0.2)
FULL = Effort(images=5120, turns=15, slice_seconds=1.0, larger=((128, 1000), (512, 100)), trainings=True)
FAR = 3.0
WORKERS = (0, 1, 2)
TRAININGS: dict[str, tuple[str, dict[str, Any]]] = {
    "recipe `digits`": ("digits", {}),
    "256x256 colour pixels, a small network": (
        "folder32",
        {
            "data": {"resolution": 256},
            "net": {"patch": 16, "width": 96, "depth": 2, "heads": 4},
            "optimiser": {"batch": 16},
        },
    ),
}
"""Recipe and changes; the second has many pixels for little network."""


def measure(effort: Effort) -> dict[str, Any]:
    """All that `effort` asks for, in a temporary folder."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        found = measure_loaders(Path(name), effort)
        for side, count in effort.larger:
            write_folder(folder := Path(name) / str(side), count, side)
            found["read_images_per_second"][str(side)] = count / timed(functools.partial(read_folder, folder))[0]
    if effort.trainings:
        found["training_with_workers"] = {
            title: measure_workers(recipe, change, effort) for title, (recipe, change) in TRAININGS.items()
        }
    return {**found, **conditions()}


def measure_loaders(root: Path, effort: Effort) -> dict[str, Any]:
    """Every contestant and the fastest recipe's training step, in turn."""
    folder = root / "images"
    write_folder(folder, effort.images, effort.side)
    reading, images = timed(lambda: read_folder(folder))
    works: dict[str, Callable[[], int]] = {}
    first: dict[str, float] = {}
    for opening in contestants(images, folder, root / "cache"):
        seconds_to_open, loader = timed(opening)
        works[loader.name] = passes_of(loader)
        first[loader.name] = seconds_to_open + timed(works[loader.name])[0]
    recipe, learner = fastest_recipe()
    works["training"] = training_of(learner)
    seconds = interleaved(works, effort)
    rates = {name: 1 / statistics.median(turns) for name, turns in seconds.items()}
    consumption = rates.pop("training")
    usual = {name: turns for name, turns in seconds.items() if name not in (OURS, DECODED, "training")}
    return {
        "images_per_second": rates[OURS],
        "consumption_of_fastest_recipe": consumption,
        "fastest_recipe": recipe,
        "ratio_to_consumption": rates[OURS] / consumption,
        "ratio_to_datasets_loader": min(ratio(turns, seconds[OURS]) for turns in usual.values()),
        "ratio_to_decoded_dataloader": ratio(seconds[DECODED], seconds[OURS]),
        "loaders": rates,
        "first_pass_seconds": {
            OURS: reading + first[OURS],
            "datasets": first[next(iter(usual))],  # the first of them, which had to index the folder
        },
        "read_images_per_second": {str(effort.side): effort.images / reading},
        "images": effort.images,
        "side": effort.side,
    }


def fastest_recipe() -> tuple[str, Learner]:
    """The recipe whose training uses up most images a second; those far behind after one step are not tried again."""
    learners = {name: recipe_learner(name) for name in recipe_names()}
    works = {name: training_of(learner) for name, learner in learners.items()}
    once = {name: seconds_an_image(work) for name, work in works.items()}
    near = [name for name in works if once[name] < FAR * min(once.values())]
    seconds = {name: min(seconds_an_image(works[name]) for _ in range(3)) for name in near}
    best = min(near, key=lambda name: seconds[name])
    return best, learners[best]


def measure_workers(recipe: str, change: Mapping[str, Any], effort: Effort) -> dict[str, Any]:
    """Images/s of a training by number of threads that make inputs ahead, and what share of a step making them is.

    The share is of processor time, or of elapsed time on an accelerator.
    """
    learners = {}
    for workers in WORKERS:
        data = {**change.get("data", {}), "workers": workers}
        learners[str(workers)] = recipe_learner(recipe, {**change, "data": data})
    fewer = dataclasses.replace(effort, turns=max(1, effort.turns // 2))
    seconds = interleaved({n: training_of(learner, steps=4) for n, learner in learners.items()}, fewer)
    for learner in learners.values():
        learner.close()
    rates = {n: 1 / statistics.median(turns) for n, turns in seconds.items()}
    return {"images_per_second": rates, "share_of_inputs": share_of_inputs(learners["0"], fewer.turns)}


def share_of_inputs(learner: Learner, turns: int) -> float:
    """Time to make a step's inputs over that of the whole step, without threads; the median over turns."""
    found = []
    for _ in range(turns):
        start = spent_seconds(learner.device)
        learner.inputs(learner.step)
        made = spent_seconds(learner.device)
        learner.advance()
        found.append((made - start) / (spent_seconds(learner.device) - made))
    return statistics.median(found)


def passes_of(loader: Loader) -> Callable[[], int]:
    """One pass; returns its images."""

    def work() -> int:
        return sum(len(x0) for x0, _ in loader.passes())

    return work


def training_of(learner: Learner, steps: int = 1) -> Callable[[], int]:
    """Training steps; returns their images."""

    def work() -> int:
        for _ in range(steps):
            learner.advance()
        if learner.device.type != "cpu":
            torch.accelerator.synchronize()
        return steps * learner.config.optimiser.batch

    return work


def interleaved(works: Mapping[str, Callable[[], int]], effort: Effort) -> dict[str, list[float]]:
    """Seconds an image of each, in turn after a first call that does not count; every second round goes backwards."""
    for work in works.values():
        work()
    gc.collect()
    found: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(effort.turns):
        for name in [*works][:: -1 if turn % 2 else 1]:
            found[name].append(seconds_an_image(works[name], effort.slice_seconds))
    return found


def seconds_an_image(work: Callable[[], int], at_least: float = 0.0) -> float:
    """Calls `work` until so many seconds are over, once at least."""
    start, done = time.perf_counter(), work()
    while time.perf_counter() - start < at_least:
        done += work()
    return (time.perf_counter() - start) / done


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what `work` returns."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def ratio(theirs: list[float], ours: list[float]) -> float:
    """How many times as fast as a peer: the median over turns of its seconds over ours in the same turn."""
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def conditions() -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "device": device_name(resolve_device("auto")),
        "batch": BATCH,
        "load_average": os.getloadavg()[0],
        "provenance": {**provenance(), "datasets": metadata.version("datasets")},
    }
