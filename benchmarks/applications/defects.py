"""Detectors with and without generated defects, on photographs of surfaces of which few are defective."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import RUNS, relative, result_path, store

if TYPE_CHECKING:
    from sadm.core.progress import Reporter
    from sadm.evaluation.detection import Examples
    from sadm.training.run import TrainConfig

NAME = "applications"
DEFECTS = ("scratch", "dent", "stain", "crack", "missing")
SOURCE = "surfaces:count=2400,size=32,material=metal,seed=11"
KEPT = 0.1  # of the training images of each kind of defect
ARMS = {"plain": "none"}
"""Generators, and the training signal of each."""
PAIRS = 60  # of each kind of defect
DETECTORS = 3
SEED = 100


def generator_config(signal: str) -> TrainConfig:
    """How a generator is trained: many good images, few defects, which are seen more often than they come."""
    from sadm.training.config import load_train_config

    change: dict[str, Any] = {
        "seed": SEED,
        "signal": signal,
        "data": {
            "source": SOURCE,
            "held_out": 0.5,
            "keep": dict.fromkeys(DEFECTS, KEPT),
            "balance": 0.5,
            "flip": True,
            "tell": ["attributes", "masks"],
        },
        "net": {"patch": 4, "width": 96, "depth": 4, "heads": 4},
        "process": {"p_mean": -0.4},  # as benchmarks/noise_density found it for small images
        "optimiser": {"steps": 800, "batch": 32, "learning_rate": 2e-3, "warmup_steps": 100, "ema_half_life": 20000},
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
    from sadm.evaluation.detection import Examples, measure_detection, pasted
    from sadm.training.run import split_for, train

    folder = RUNS / NAME / "defects"
    with ConsoleReporter() as reporter:
        split = split_for(generator_config("none"), reporter)
        added: dict[str, Examples] = {}
        seconds = {}
        for arm, signal in ARMS.items():
            run = folder / f"generator-{arm}"
            result = train(generator_config(signal), run, reporter)
            started = time.process_time()
            _draw(run, folder / f"pairs-{arm}", split.train, reporter)
            drawing = time.process_time() - started
            seconds[arm] = {"training": result.cpu_seconds + result.pretrain_cpu_seconds, "drawing": drawing}
            added[arm] = read_pairs(folder / f"pairs-{arm}")
        good, real = Examples.of(split.train)
        added[PASTED] = Examples(*pasted(good, real.images, real.masks, PAIRS * len(DEFECTS), seed=SEED))
        found = measure_detection(
            split.train, split.held_out, added, DETECTORS, reporter=reporter, folder=folder / "detectors"
        )
    budget = generator_config("none").optimiser.model_dump(include={"steps", "batch"})
    about = {"source": SOURCE, "kept": KEPT, "generator": budget, "cpu_seconds": seconds}
    facts = {**about, **found, "provenance": provenance()}
    store(NAME, "defects", facts)


def _draw(run: Path, out: Path, images: Any, reporter: Reporter) -> None:
    from sadm.applications.defects import Request
    from sadm.applications.defects.folder import write_defects
    from sadm.training.model_folder import load_model

    requests = [Request(defect, PAIRS, seed=SEED) for defect in DEFECTS]
    write_defects(load_model(relative(run)), images, requests, out, reporter=reporter)
