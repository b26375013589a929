"""A training and its prediction, side by side: each in a process of its own, so that none warms what another one needs.

Both run at the same time, one thread each. The speed of a core varies by a quarter from minute to minute, with what its
neighbours do: so the two are each other's neighbours.

python -m benchmarks.plan.measure training digits structure     # what `measure` starts, and prediction digits structure
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sadm.data import ImageSet
    from sadm.training.config import TrainConfig

RECIPES = ("digits", "fashion_mnist_8", "fashion_mnist_16", "folder32_small")
ARMS = ("plain", "structure")
ROUNDS = 3
STEPS = 60
"""Of a measured training, whose schedule is shortened to that."""
WARM, SLICE = 3, 3
SECONDS, BEGINNING = 30.0, 15.0
"""Of a prediction, and what it takes about before; trainings are repeated for as long."""
CHANGES: dict[str, Any] = {
    "optimiser": {"steps": STEPS},
    "structure": {"encoder_steps": 10},
    "data": {"workers": 0},
}


def measure(found: dict[str, Any], say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Rounds that are missing, and after each all that there is.

    Args:
        found: what is there already.
        say: told about progress.
    """
    from sadm.core.provenance import provenance

    rounds: dict[str, list[dict[str, Any]]] = found.get("recipes", {})
    for number in range(ROUNDS):
        for recipe in RECIPES:
            done = rounds.setdefault(recipe, [])
            if len(done) > number:
                continue
            done.append({arm: side_by_side(recipe, arm) for arm in ARMS})
            say(f"{recipe}, round {number + 1}: {done[-1]}")
            yield {"recipes": rounds, "steps": STEPS, "provenance": provenance()}


def side_by_side(recipe: str, arm: str) -> dict[str, Any]:
    """What two processes print that run at the same time.

    Raises:
        CalledProcessError: one of them failed.
    """
    commands = {
        name: [sys.executable, "-m", "benchmarks.plan.measure", kind, recipe, arm]
        for name, kind in (("predicted", "prediction"), ("measured", "training"))
    }
    started = {
        name: subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
        for name, command in commands.items()
    }
    printed = {name: process.communicate()[0] for name, process in started.items()}
    for name, process in started.items():
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, commands[name])
    return {name: json.loads(text.splitlines()[-1]) for name, text in printed.items()}


def prediction(recipe: str, arm: str) -> dict[str, Any]:
    """What `sadm plan --calibrate` says of an arm."""
    from sadm.experiments.planning.calibration import calibrate, machine
    from sadm.experiments.planning.network import Cluster
    from sadm.experiments.planning.plan import plan
    from sadm.experiments.planning.subject import base_for, subject_of
    from sadm.training.config import load_train_config

    base = base_for(recipe)
    subject = subject_of(base, load_train_config(recipe, overrides=_changes(arm)))
    calibration = calibrate(subject, seconds=SECONDS)
    gpu = machine(calibration, subject, subject.config.optimiser.batch)
    own = plan(subject, gpu, Cluster(1), calibration=calibration)
    return {"step_seconds": own.step.seconds, "peak_mib": own.process_mib}


def training(recipe: str, arm: str) -> dict[str, Any]:
    """Short trainings on the recipe's images: CPU-seconds of a step, and the most memory that the process had in the first."""
    from sadm.core.provenance import peak_memory_mib
    from sadm.experiments.cost import mean_undisturbed
    from sadm.training.config import load_train_config
    from sadm.training.run import split_for

    config = load_train_config(recipe, overrides=_changes(arm))
    images, begun = split_for(config).train, time.monotonic()
    slices = trained(config, images)
    peak = peak_memory_mib()
    while time.monotonic() - begun < BEGINNING + SECONDS:
        slices += trained(config, images)
    return {"step_seconds": mean_undisturbed(slices), "peak_mib": peak}


def _changes(arm: str) -> dict[str, Any]:
    return CHANGES | ({"signal": "none"} if arm == "plain" else {})


def trained(config: TrainConfig, images: ImageSet) -> list[float]:
    """A short training: CPU-seconds of a step, by slices of several."""
    from sadm.core.devices import spent_seconds
    from sadm.core.progress import Silent
    from sadm.training.learner import Learner
    from sadm.training.signals import prepare_signals
    from sadm.training.spec import spec_for

    signals = prepare_signals(config, images, Silent()).signals
    learner = Learner(config, images, spec_for(images, config.net, config.process, config.data), signals)
    slices = []
    for start in range(0, STEPS, SLICE):
        before = spent_seconds(learner.device)
        for _ in range(SLICE):
            learner.advance()
        if start >= WARM:
            slices.append((spent_seconds(learner.device) - before) / SLICE)
    return slices


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    chosen: Callable[..., dict[str, Any]] = {"training": training, "prediction": prediction}[sys.argv[1]]
    print(json.dumps(chosen(*sys.argv[2:])))
