"""One job: calibrate, train exactly the steps that the calibration buys, draw the images to be judged; resumable anywhere.

Where something else on the machine disturbed the job's own calibration, so that the steps took more or less than was calibrated,
it is trained once more, with the steps that the budget buys at what they took. A calibration in turns with the others stays: a
machine that is slower for everyone then changes nothing.

JOB/job.json          what is to be done
JOB/calibration.json  CPU-seconds of set-up and of a step
JOB/checkpoint/       of the training
JOB/training.json     what it took
JOB/images/           drawn images, in parts while they are being drawn
"""

from __future__ import annotations

import math
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers.contestant import Sampler, Training
from benchmarks.peers.pace import CALIBRATION, calibrate
from benchmarks.peers.plan import steps_within
from benchmarks.peers.workplace import Workplace
from sadm.core.errors import DivergedError, InterruptedRun
from sadm.core.files import make_folder, read_json, remove_leftovers, write_json
from sadm.core.provenance import provenance
from sadm.core.stopping import StopRequest
from sadm.training.checkpoint import load_checkpoint, save_checkpoint

CHECKPOINT, TRAINING, IMAGES = "checkpoint", "training.json", "images"
MOST_AMISS = 0.1  # share of its budget by which a training may miss it
SECONDS_BETWEEN_CHECKPOINTS = 30.0
LOSSES_KEPT = 20
PART = 50
"""Images drawn between two files."""


def run_job(place: Workplace, samplers: dict[str, Sampler], labels: torch.Tensor) -> None:
    """Does what is missing of a job.

    Args:
        place: the job.
        samplers: with which images are to be drawn.
        labels: of these images [N].

    Raises:
        InterruptedRun: stopped by Ctrl-C or SIGTERM, after saving.
        UserError: the budget buys no step.
    """
    remove_leftovers(place.folder)
    with StopRequest() as stop:
        training = train(place, steps_of(place, stop), stop)
        if training is not None and correct(place, training):
            training = train(place, steps_of(place, stop), stop, "training once more")
        if training is not None:
            for name, sampler in samplers.items():
                draw(place, training, name, sampler, labels, stop)


def steps_of(place: Workplace, stop: StopRequest) -> int:
    """How many steps the budget buys at the calibrated cost."""
    calibration = calibrate(place, stop)
    return steps_within(place.job.budget, calibration["setup_seconds"], calibration["seconds_per_step"])


def correct(place: Workplace, training: Training) -> bool:
    """Whether a finished training missed its budget by too much; it is then undone, and what it took is its calibration."""
    calibration, facts = read_json(place.folder / CALIBRATION), read_json(place.folder / TRAINING)
    missed = abs(facts["cpu_seconds"] / place.job.budget - 1)
    if calibration.get("corrected") or calibration.get("in_turns") or missed <= MOST_AMISS:
        return False
    seconds = (facts["cpu_seconds"] - facts["setup_cpu_seconds"]) / training.step
    (place.folder / TRAINING).unlink()  # stopped after this, it is found at its last step, and is corrected then
    shutil.rmtree(place.folder / CHECKPOINT)
    write_json(place.folder / CALIBRATION, {**calibration, "seconds_per_step": seconds, "corrected": True})
    return True


def train(place: Workplace, steps: int, stop: StopRequest, stage: str = "training") -> Training | None:
    """Trains to the end, from the last checkpoint where there is one; None where it diverged. `stage` is for the progress."""
    facts = read_json(place.folder / TRAINING) if (place.folder / TRAINING).exists() else None
    if facts is not None and facts["diverged"]:
        return None
    path = place.folder / CHECKPOINT
    state = load_checkpoint(path) if path.exists() else None
    training = place.start(steps, restored=state is not None)
    spent: dict[str, Any] = {"setup": training.setup_seconds, "steps": 0.0, "losses": [0.0, 0], "curve": []}
    if state is not None:
        training.load_state_dict(state["training"])
        spent = state["spent"]
    finite = True
    saved = time.monotonic()
    while training.step < steps and finite:
        if stop.requested or time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            save_checkpoint(path, {"training": training.state_dict(), "spent": spent})
            saved = time.monotonic()
            if stop.requested:
                raise InterruptedRun(f"Stopped and saved at step {training.step} of {steps}.")
        loss = _advance(training, spent)
        finite = math.isfinite(loss)
        if finite:
            _note_loss(spent, loss, training.step, steps)
            place.progress(stage, training.step, steps, f"loss {loss:.4f}")
    if facts is None:
        if finite:
            save_checkpoint(path, {"training": training.state_dict(), "spent": spent})
        write_json(place.folder / TRAINING, _facts(place, training, spent, steps, finite))
    return training if finite else None


def _advance(training: Training, spent: dict[str, Any]) -> float:
    """One step; NaN where it diverged."""
    start, before = time.process_time(), _interruptions()
    try:
        return training.advance()
    except DivergedError:
        return math.nan
    finally:
        spent["steps"] += time.process_time() - start
        spent["interruptions"] = spent.get("interruptions", 0) + _interruptions() - before


def _interruptions() -> int:
    """How often this process lost its processor to another so far: what then comes back finds its caches cold."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _note_loss(spent: dict[str, Any], loss: float, step: int, steps: int) -> None:
    """Keeps the mean loss of each of a few equal stretches."""
    spent["losses"] = [spent["losses"][0] + loss, spent["losses"][1] + 1]
    if step * LOSSES_KEPT // steps > (step - 1) * LOSSES_KEPT // steps:
        spent["curve"] = [*spent["curve"], round(spent["losses"][0] / spent["losses"][1], 6)]
        spent["losses"] = [0.0, 0]


def _facts(place: Workplace, training: Training, spent: dict[str, Any], steps: int, finite: bool) -> dict[str, Any]:
    return {
        "diverged": not finite,
        "steps": training.step,
        "planned_steps": steps,
        "batch": training.batch,
        "images_seen": training.step * training.batch,
        "parameters": training.parameters,
        "cpu_seconds": round(spent["setup"] + spent["steps"], 3),
        "setup_cpu_seconds": round(spent["setup"], 3),
        "interruptions_a_second": round(spent.get("interruptions", 0) / max(spent["steps"], 1e-9), 2),
        "losses": spent["curve"],
        "versions": place.contestant.versions(),
        "provenance": provenance(),
    }


def draw(
    place: Workplace, training: Training, name: str, sampler: Sampler, labels: torch.Tensor, stop: StopRequest
) -> None:
    """Draws an image for each label, a part at a time, and puts the parts together as ``images/NAME.npz``."""
    target = images_path(place.folder, name)
    if target.exists():
        return
    parts = make_folder(target.with_suffix(".parts"))
    remove_leftovers(parts)
    total = len(labels)
    for first in range(0, total, PART):
        part = parts / f"{first:06d}.npz"
        if stop.requested:
            raise InterruptedRun(f"Stopped; {first} of {total} images are drawn.")
        if not part.exists():
            start = time.process_time()
            images = training.draw(labels[first : first + PART], first, place.job.seed, sampler)
            save_arrays(part, images=images.numpy(), seconds=np.array(time.process_time() - start))
        place.progress(f"images, {name}", min(first + PART, total), total, "")
    arrays = [np.load(part, allow_pickle=False) for part in sorted(parts.glob("*.npz"))]
    whole = np.concatenate([array["images"] for array in arrays])
    seconds = np.array(sum(float(array["seconds"]) for array in arrays))
    save_arrays(target, images=whole, labels=labels.numpy(), seconds=seconds)
    shutil.rmtree(parts)


def images_path(folder: Path, sampler: str) -> Path:
    """Where the images of a sampler are."""
    return folder / IMAGES / f"{sampler.replace(' ', '-').replace(',', '')}.npz"


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Writes an npz file, whole or not at all."""
    import io

    from sadm.core.files import write_atomically

    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(path, buffer.getvalue())
