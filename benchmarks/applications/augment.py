"""Is a rare class found more often when a model fills it up? Garments of which one kind is rare, and surfaces with few cracks."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

from benchmarks.common import RUNS, result_path, store
from benchmarks.pinned import pinned_recipe

if TYPE_CHECKING:
    from sadm.training.run import TrainConfig

NAME = "applications"
CLASSIFIERS, CLASSIFIER_STEPS = 5, 400
DRAWN_FOR_EACH = 4  # missing image, at most
SEED = 100


@dataclasses.dataclass(frozen=True)
class Case:
    """A data set of which one class is made rare.

    Attributes:
        rare: the class.
        kept: share of its training images.
        target: images that it is filled up to; see `AugmentSettings`.
        change: of the training's configuration.
        recipe: of `benchmarks.pinned` that is changed; None = the defaults.
    """

    rare: str
    kept: float
    target: str
    change: dict[str, Any]
    recipe: str | None = None


CASES = {
    "augment-garments": Case(
        "Shirt",
        0.02,
        "50%",
        {"data": {"limit": 10_000}, "optimiser": {"steps": 800}},
        "fashion_mnist_16",
    ),
    "augment-surfaces": Case(
        "crack",
        0.1,
        "20%",  # as many as there were
        {
            "data": {"source": "surfaces:count=2400,size=32,material=metal,seed=12", "held_out": 0.5, "flip": True},
            "net": {"patch": 4, "width": 96, "depth": 4, "heads": 4},
            "process": {"p_mean": -0.4},  # as benchmarks/noise_density found it for small images
            "optimiser": {
                "steps": 800,
                "batch": 32,
                "learning_rate": 2e-3,
                "warmup_steps": 100,
                "ema_half_life": 20000,
            },
        },
    ),
}
"""Fixed before anything was measured."""


def generator_config(case: Case) -> TrainConfig:
    """How a generator is trained: images of the rare class are seen more often than they come."""
    from sadm.core.config import merge
    from sadm.training.config import load_train_config

    data = {"keep": {case.rare: case.kept}, "balance": 0.5}
    own = {"seed": SEED, "signal": "none", "data": data, "log": {"samples": 0, "every": 50, "checkpoint_every": 500}}
    change = merge(case.change, own)
    return load_train_config(overrides=change) if case.recipe is None else pinned_recipe(case.recipe, change)


def measure_augment(name: str) -> dict[str, Any]:
    """Trains a generator, fills the rare class up to the target, and measures; goes on where it stopped.

    Args:
        name: of one of `CASES`.

    Returns:
        What `sadm.applications.augment.augment` found, and processor seconds of training and of the rest, for JSON.
    """
    from sadm.applications.augment import AugmentSettings, augment
    from sadm.applications.augment.settings import missing_images
    from sadm.core.progress import ConsoleReporter
    from sadm.evaluation.downstream.report import counts_of
    from sadm.training.run import split_for, train

    case, folder = CASES[name], RUNS / NAME / name
    config = generator_config(case)
    with ConsoleReporter() as reporter:
        images = split_for(config, reporter).train
        settings = AugmentSettings(case.target, (case.rare,), SEED, classifier_steps=CLASSIFIER_STEPS)
        (missing,) = missing_images(counts_of(images), images.class_names, settings, config.data.source).values()
        settings = dataclasses.replace(settings, most=DRAWN_FOR_EACH * missing)
        result = train(config, folder / "generator", reporter, images)
        started = time.process_time()
        facts = augment(folder / "generator", folder / "filled", settings, classifiers=CLASSIFIERS, reporter=reporter)
    seconds = {"training": result.cpu_seconds + result.pretrain_cpu_seconds, "rest": time.process_time() - started}
    budget = config.optimiser.model_dump(include={"steps", "batch"})
    return {**facts, "rare": case.rare, "kept": case.kept, "generator": budget, "cpu_seconds": seconds}


def run_augment(name: str) -> None:
    """Measures a case and stores the result, unless it is stored."""
    if not result_path(NAME, name).exists():
        store(NAME, name, measure_augment(name))
