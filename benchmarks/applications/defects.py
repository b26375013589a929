"""Detectors with and without generated defects, on photographs of surfaces of which few are defective."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import RUNS, relative, result_path, store

if TYPE_CHECKING:
    from sadm.core.progress import Reporter
    from sadm.data import ImageSet
    from sadm.evaluation.detection import Examples
    from sadm.training.run import TrainConfig

NAME = "applications"
DEFECTS = ("scratch", "dent", "stain", "crack", "missing")
SOURCE = "surfaces:count=2400,size=32,material=metal,seed=11"
KEPT = 0.1  # of the training images of each kind of defect
ARMS = {"plain": "none", "structure": "hidden"}
"""Generators, and the training signal of each; all but the first make fewer steps, for the same cost."""
NET = {"patch": 4, "width": 96, "depth": 4, "heads": 4}
DRAWN = 60  # of each kind of defect
COST_STEPS, DETECTOR_STEPS = 200, 400
SEEDS = range(100, 105)
"""Of the trainings, which are paired; each has a detector of its own."""


def generator_config(signal: str, seed: int = SEEDS[0], steps: int = 800) -> TrainConfig:
    """How a generator is trained: many good images, few defects, which are seen more often than they come."""
    from sadm.training.config import load_train_config

    change: dict[str, Any] = {
        "seed": seed,
        "signal": signal,
        "data": {
            "source": SOURCE,
            "held_out": 0.5,
            "keep": dict.fromkeys(DEFECTS, KEPT),
            "balance": 0.5,
            "flip": True,
            "tell": ["attributes", "masks"],
        },
        "net": NET,
        "process": {"p_mean": -0.4},  # as benchmarks/noise_density found it for small images
        "optimiser": {"steps": steps, "batch": 32, "learning_rate": 2e-3, "warmup_steps": 100, "ema_half_life": 20000},
        "log": {"samples": 0, "every": 50, "checkpoint_every": 200},
    }
    return load_train_config(overrides=change)


def run_defects() -> None:
    """Trains the generators, draws, trains the detectors, and stores what they found; goes on where it stopped."""
    if result_path(NAME, "defects").exists():
        return
    from sadm.applications.defects.gain import PASTED, read_pairs
    from sadm.core.progress import ConsoleReporter
    from sadm.core.provenance import provenance
    from sadm.evaluation.detection import DetectorSettings, Examples, measure_detection, pasted
    from sadm.training.run import split_for

    folder = RUNS / NAME / "defects"
    with ConsoleReporter() as reporter:
        split = split_for(generator_config("none"), reporter)
        steps = _equal_cost_steps(folder, split.train, reporter)
        seconds: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
        for seed in SEEDS:
            for arm in ARMS:
                seconds[arm].append(_trained_and_drawn(folder, arm, steps[arm], seed, split.train, reporter))
        added: dict[str, list[Examples]] = {
            arm: [read_pairs(_pairs(folder, arm, seed)) for seed in SEEDS] for arm in ARMS
        }
        good, real = Examples.of(split.train)
        count = DRAWN * len(DEFECTS)
        added[PASTED] = [Examples(*pasted(good, real.images, real.masks, count, seed=seed)) for seed in SEEDS]
        found = measure_detection(
            split.train,
            split.held_out,
            added,
            len(SEEDS),
            DetectorSettings(steps=DETECTOR_STEPS),
            reporter=reporter,
            folder=folder / "detectors",
            against={"structure": "plain", "plain": PASTED},
        )
    batch = generator_config("none").optimiser.batch
    about = {"source": SOURCE, "kept": KEPT, "batch": batch, "steps": steps, "cpu_seconds": seconds}
    store(NAME, "defects", {**about, **found, "provenance": provenance()})


def _equal_cost_steps(folder: Path, images: ImageSet, reporter: Reporter) -> dict[str, int]:
    """Steps of each arm that cost what those of the first one do."""
    from sadm.experiments.config import CompareConfig
    from sadm.experiments.cost import measure_costs, read_costs, store_costs

    control, *others = ARMS
    base = generator_config(ARMS[control])
    if not read_costs(folder):
        arms = {name: {"signal": signal} for name, signal in ARMS.items()}
        config = CompareConfig(train=base, arms=arms, seeds=[SEEDS[0]], cost_steps=COST_STEPS)
        store_costs(folder, measure_costs(config, others, images, reporter))
    steps = base.optimiser.steps
    costs = read_costs(folder)
    return {control: steps, **{name: costs[name].equal_cost_steps(steps) for name in others}}


def _trained_and_drawn(
    folder: Path, arm: str, steps: int, seed: int, images: ImageSet, reporter: Reporter
) -> dict[str, float]:
    """A generator and its pairs; returns CPU-seconds."""
    from sadm.applications.defects import Request
    from sadm.applications.defects.folder import write_defects
    from sadm.training.model_folder import load_model
    from sadm.training.run import train

    run = folder / f"generator-{arm}-{seed}"
    result = train(generator_config(ARMS[arm], seed, steps), run, reporter)
    requests = [Request(defect, DRAWN, seed=seed) for defect in DEFECTS]
    write_defects(load_model(relative(run)), images, requests, _pairs(folder, arm, seed), reporter=reporter)
    return {"training": result.cpu_seconds, "encoder": result.pretrain_cpu_seconds}


def _pairs(folder: Path, arm: str, seed: int) -> Path:
    return folder / f"pairs-{arm}-{seed}"
