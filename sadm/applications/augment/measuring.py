"""What the generated images of a folder are worth to a classifier, beside what costs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sadm.applications.augment.opening import Opened
from sadm.core.progress import Reporter
from sadm.data import Augmentation, ImageSet
from sadm.evaluation.downstream import ClassifierSettings, Downstream, DownstreamSettings
from sadm.evaluation.downstream.filled import measure_filled
from sadm.evaluation.downstream.repeating import changed, repeated
from sadm.training.data_config import DataConfig

OVERSAMPLED, CLASSICAL = "oversampled", "classical"
USUAL = Augmentation(1.0, scale=0.1, rotation=10.0, shift=0.125, contrast=0.1)
"""Of the control where the training says nothing of augmentation: what hardly any class minds."""


def measure_augmented(
    opened: Opened,
    generated: ImageSet,
    classifier: ClassifierSettings,
    classifiers: int,
    folder: Path | None,
    reporter: Reporter,
) -> dict[str, Any]:
    """Trains classifiers with and without generated images, and with as many repetitions of real ones.

    Args:
        opened: the run; its test images judge.
        generated: what is added.
        classifier: how classifiers are trained.
        classifiers: of each kind.
        folder: where answers are kept until the measurement has ended; None = nowhere.
        reporter: told about progress.

    Returns:
        See `measure_filled`; the controls are `OVERSAMPLED`, real images of these classes again, and `CLASSICAL`, the same
        flipped, turned, shifted and so on as far as `augmentation_for` allows.

    Raises:
        UserError: images that no classifier can be trained on or judged by.
    """
    settings = DownstreamSettings(classifiers, classifier=classifier)
    bench = Downstream(opened.training, opened.test, settings, opened.model.device, reporter)
    assert generated.labels is not None  # noqa: S101 - for the type checker; they were drawn for labels
    added = torch.bincount(generated.labels, minlength=generated.num_classes)
    again = repeated(bench.training, added, seed=0)
    augmentation = augmentation_for(opened.config.data)
    controls = {OVERSAMPLED: again, CLASSICAL: changed(again, augmentation, seed=0)}
    return {**measure_filled(bench, generated, controls, folder), "augmentation": vars(augmentation)}


def augmentation_for(data: DataConfig) -> Augmentation:
    """What the images may suffer: what the training does to them, always; `USUAL` where it does nothing.

    They are mirrored only where the training does so, since digits, text and many parts may not be.
    """
    strengths = {name: strength for name, strength in data.augment.strengths.items() if strength}
    if data.flip:
        strengths["flip_x"] = 1.0
    if set(strengths) <= {"flip_x", "flip_y"}:
        return Augmentation(**{**vars(USUAL), **strengths})
    return Augmentation(1.0, **strengths)
