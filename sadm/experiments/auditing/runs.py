"""`audit_run`: from a run folder to an audit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.core.progress import Reporter, Silent
from sadm.core.provenance import provenance
from sadm.data import ImageSet, Split, open_source
from sadm.evaluation.memorisation import Audit, audit
from sadm.experiments.auditing.drawing import drawn_images
from sadm.training.config import TrainConfig
from sadm.training.run import fit_for
from sadm.training.trained import open_run

FOLDER = "audit"
"""Of a run, for the images that are drawn."""
_GRID = "grid.png"  # which `sadm sample` writes beside its images


@dataclasses.dataclass(frozen=True)
class RunAudit:
    """An audit with what it was made from.

    Attributes:
        found: the audit.
        generated: the images that were audited.
        facts: all of it for JSON, with provenance.
    """

    found: Audit
    generated: ImageSet
    facts: dict[str, Any]


def audit_run(
    run: str | Path,
    count: int = 1000,
    seed: int = 0,
    images: str | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> RunAudit:
    """Audits what a run's model draws, or images that are there already.

    Args:
        run: a run folder.
        count: images to draw; they are kept in the folder ``audit`` of the run, and read the next time.
        seed: of these images, and of the division of the held-out images.
        images: a folder of generated images instead, or any other source; they are brought to shape as training images were.
        device: see `load_model`.
        reporter: where progress is shown.

    Raises:
        UserError: there is no run, its images have changed since, or there are too few.
        InterruptedRun: stopped while drawing.
    """
    if count < 2:
        raise UserError(f"--count must be at least 2, got {count}.")
    folder, shown = Path(run), reporter or Silent()
    config, model, split = open_run(folder, device, shown)
    if images is None:
        generated = drawn_images(folder, model, folder / FOLDER, count, seed, shown)
    else:
        generated = opened_images(images, config, split, shown)
    shown.say(f"Comparing {len(generated)} images with {len(split.train)} training images.")
    found = audit(generated, split.train, split.held_out, seed, shown)
    of = {"run": str(run), "model": model.hash, "generated": generated.source, "drawn": images is None}
    facts = found.as_dict() | of | {"provenance": provenance()}
    return RunAudit(found, generated, facts)


def fitted_images(source: str, config: TrainConfig, split: Split, reporter: Reporter) -> ImageSet:
    """The images of a source, brought to the shape of a run's training images as these were.

    Raises:
        UserError: it holds no images, two sets, or images of another shape.
    """
    fit = dataclasses.replace(fit_for(config.data), resolution=split.train.shape[2], channels=split.train.shape[0])
    opened = open_source(source, fit=fit, progress=lambda done, total: reporter.update("images", done, total))
    if not isinstance(opened, ImageSet):
        raise UserError(f"{source} holds two sets; expected one.")
    return opened


def opened_images(source: str, config: TrainConfig, split: Split, reporter: Reporter) -> ImageSet:
    """Generated images from a source, in the shape of the training images; labels only where the classes are the same.

    Raises:
        UserError: as `fitted_images`.
    """
    opened = fitted_images(source, config, split, reporter)
    kept = [i for i, name in enumerate(opened.names) if Path(name).name != _GRID]
    if not kept:
        raise UserError(f"{source} holds no generated images but a {_GRID}.")
    generated = opened.subset(torch.tensor(kept))
    if generated.class_names != split.train.class_names:
        generated = dataclasses.replace(generated, labels=None, class_names=())
    return generated
