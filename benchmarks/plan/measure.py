"""A training and its prediction, in turn: each in a process of its own, so that none warms what another one needs.

python -m benchmarks.plan.measure training digits structure     # what `measure` starts
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

RECIPES = ("digits", "fashion_mnist_8", "fashion_mnist_16", "folder32_small")
ARMS = ("plain", "structure")
ROUNDS = 3
STEPS = 60
"""Of a measured training, whose schedule is shortened to that."""
WARM, SLICE = 3, 3
SECONDS = 30.0
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
            measured = {"plain": apart("training", recipe, "plain")}
            predicted = apart("prediction", recipe)
            measured["structure"] = apart("training", recipe, "structure")
            done.append({arm: {"predicted": predicted[arm], "measured": measured[arm]} for arm in ARMS})
            say(f"{recipe}, round {number + 1}: {done[-1]}")
            yield {"recipes": rounds, "steps": STEPS, "provenance": provenance()}


def apart(kind: str, *words: str) -> dict[str, Any]:
    """What a process of its own prints."""
    command = [sys.executable, "-m", "benchmarks.plan.measure", kind, *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def prediction(recipe: str) -> dict[str, Any]:
    """What `sadm plan --calibrate` says of both arms, from one calibration."""
    import dataclasses

    from sadm.experiments.planning.calibration import calibrate, machine
    from sadm.experiments.planning.network import Cluster
    from sadm.experiments.planning.plan import plan
    from sadm.experiments.planning.subject import base_for, subject_of
    from sadm.training.config import load_train_config

    base = base_for(recipe)
    subject = subject_of(base, load_train_config(recipe, overrides=CHANGES))
    calibration = calibrate(subject, seconds=SECONDS)
    gpu = machine(calibration, subject, subject.config.optimiser.batch)
    plain = dataclasses.replace(subject, config=subject.config.model_copy(update={"signal": "none"}))
    plans = {"plain": plan(plain, gpu, Cluster(1), calibration=calibration)}
    plans["structure"] = plan(subject, gpu, Cluster(1), calibration=calibration)
    return {arm: {"step_seconds": own.step.seconds, "peak_mib": own.process_mib} for arm, own in plans.items()}


def training(recipe: str, arm: str) -> dict[str, Any]:
    """A short training on the recipe's images: CPU-seconds of a step, and the most memory that the process had."""
    from sadm.core.config import merge
    from sadm.core.devices import spent_seconds
    from sadm.core.progress import Silent
    from sadm.core.provenance import peak_memory_mib
    from sadm.experiments.cost import mean_undisturbed
    from sadm.training.config import load_train_config
    from sadm.training.learner import Learner
    from sadm.training.run import split_for
    from sadm.training.signals import prepare_signals
    from sadm.training.spec import spec_for

    config = load_train_config(recipe, overrides=merge(CHANGES, {"signal": "none"} if arm == "plain" else {}))
    images = split_for(config).train
    signals = prepare_signals(config, images, Silent()).signals
    learner = Learner(config, images, spec_for(images, config.net, config.process, config.data), signals)
    slices = []
    for start in range(0, STEPS, SLICE):
        before = spent_seconds(learner.device)
        for _ in range(SLICE):
            learner.advance()
        if start >= WARM:
            slices.append((spent_seconds(learner.device) - before) / SLICE)
    return {"step_seconds": mean_undisturbed(slices), "peak_mib": peak_memory_mib()}


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    chosen: Callable[..., dict[str, Any]] = {"training": training, "prediction": prediction}[sys.argv[1]]
    print(json.dumps(chosen(*sys.argv[2:])))
