"""Line drawings that are damaged on purpose and restored, beside filters without a model."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.applications.drawings import drawings
from benchmarks.common import RUNS, relative, result_path, store

if TYPE_CHECKING:
    import torch

    from sadm.applications.restoring import Injury
    from sadm.core.progress import Reporter
    from sadm.data import ImageSet
    from sadm.training.run import TrainConfig

NAME, PART = "applications", "restore"
SEED, TRAINING, TEST = 100, 100, 101  # of training, and of the drawings; cases and sizes were found with others
COUNT, IMAGES, PROPOSALS = 2000, 24, 4
RESAMPLE = 2
KNOWN: dict[str, dict[str, Any]] = {
    "mask": {},
    "lowres": {"factor": 2},
    "blur": {"width": 1.0, "noise": 0.02},
    "noise": {"noise": 0.15},
}
HOLES = "box:0.15"
UNKNOWN = ("fade", "stain", "fold", "tear", "blur", "coarse", "grain", "all")
"""Kinds of `sadm.data.damage.KINDS`, each for sure and at any strength; and each of them with probability 1/2."""


def training_config(source: str) -> TrainConfig:
    """One model for both: half of the images it sees with what they look like damaged, half without."""
    from sadm.training.config import load_train_config

    change: dict[str, Any] = {
        "seed": SEED,
        "signal": "none",
        "data": {"source": source, "held_out": 0.01, "tell": ["damage"], "tell_dropout": 0.5},
        "net": {"patch": 4, "width": 64, "depth": 4, "heads": 4},
        "process": {"p_mean": -0.2, "p_std": 1.2},
        "optimiser": {"steps": 6000, "batch": 32, "learning_rate": 3e-3, "ema_half_life": 4000},
        "sampling": {"steps": 12, "batch": 96},
        "log": {"samples": 0, "every": 50, "checkpoint_every": 250},
    }
    return load_train_config(overrides=change)


def train_model(folder: Path, reporter: Reporter) -> dict[str, float]:
    """Draws the training images and trains the model; goes on where it stopped. Returns processor seconds of training."""
    from sadm.core.grids import write_png
    from sadm.training.run import train

    images = folder / "drawings"
    for index, image in enumerate(drawings(COUNT, TRAINING).images):
        if not (images / f"{index:04d}.png").exists():
            write_png(images / f"{index:04d}.png", image.permute(1, 2, 0).contiguous().numpy())
    result = train(training_config(relative(images)), folder / "model", reporter)
    return {"training": result.cpu_seconds + result.pretrain_cpu_seconds}


def run_restore() -> None:
    """Trains the model, restores for each damage, and stores what was found; goes on where it stopped."""
    if result_path(NAME, PART).exists():
        return
    from sadm.applications.restoring import KINDS, Injury
    from sadm.core.files import write_json
    from sadm.core.progress import ConsoleReporter
    from sadm.core.provenance import provenance

    folder = RUNS / NAME / PART
    sound = drawings(IMAGES, TEST)
    injuries = {name: Injury(name, **own) for name, own in KNOWN.items()}
    injuries |= {f"unknown-{kind}": Injury(KINDS[-1]) for kind in UNKNOWN}
    found: dict[str, Any] = {}
    with ConsoleReporter() as reporter:
        seconds = train_model(folder, reporter)
        for case, injury in injuries.items():
            path = folder / "cases" / f"{case}.json"
            if not path.exists():
                write_json(path, measure_case(folder / "model", case, injury, sound, reporter))
            found[case] = json.loads(path.read_text(encoding="utf-8"))
    seconds["restoring"] = sum(own["cpu_seconds"] for own in found.values())
    facts = {"images": IMAGES, "proposals": PROPOSALS, "drawings": COUNT, "cpu_seconds": seconds, "cases": found}
    config = training_config("drawings").model_dump(mode="json")
    facts |= {part: config[part] for part in ("net", "optimiser", "sampling")}
    store(NAME, PART, {**facts, "provenance": provenance()})


def measure_case(
    model: Path, case: str, injury: Injury, sound: ImageSet, reporter: Reporter | None = None
) -> dict[str, Any]:
    """One damage: `measure_restoring`, and processor seconds.

    Args:
        model: its folder.
        case: ``unknown-KIND``, or the injury's kind.
        injury: what has happened; masks are made here.
        sound: drawings that the model has not learned from.
        reporter: told about progress.
    """
    import dataclasses

    from sadm.applications.inpainting import masks_from
    from sadm.applications.restoring import MASK, Restorer
    from sadm.applications.restoring_measured import measure_restoring
    from sadm.data import to_floats, to_uint8
    from sadm.training.model_folder import load_model

    started, damaged = time.process_time(), None
    if injury.kind == MASK:
        injury = dataclasses.replace(injury, masks=masks_from(HOLES, sound, SEED))
    if case.startswith("unknown-"):
        harmed = harm(to_floats(sound.images), case.removeprefix("unknown-"), SEED)
        damaged = to_floats(to_uint8(harmed))
    restorer = Restorer(load_model(model), injury, RESAMPLE)
    found = measure_restoring(restorer, sound, damaged, PROPOSALS, SEED, reporter)
    return {**found, "cpu_seconds": time.process_time() - started}


def harm(images: torch.Tensor, kind: str, seed: int) -> torch.Tensor:
    """Images [N, C, H, W] in [-1, 1] that one kind of damage has befallen, or all of them by chance, as in training."""
    import torch

    from sadm.core.seeds import derive_seed, generator
    from sadm.data.damage import KINDS, Damage

    if kind == "all":
        return Damage()(images, [derive_seed(seed, "harm", row) for row in range(len(images))])
    made = []
    for row, image in enumerate(images):
        draws = generator(seed, "harm", kind, row)
        much = 0.2 + 0.8 * float(torch.rand((), generator=draws))
        made.append(KINDS[kind]((image + 1) / 2, much, draws))
    return (2 * torch.stack(made) - 1).clamp(-1, 1)
