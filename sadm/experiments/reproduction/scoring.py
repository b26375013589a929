"""The distance that papers publish: many generated images against the training images, all at once."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sadm.core.errors import DivergedError, InterruptedRun
from sadm.core.files import make_folder, remove_leftovers, write_atomically
from sadm.core.progress import Reporter
from sadm.core.stopping import StopRequest
from sadm.data import ImageSet, to_uint8
from sadm.evaluation import Judge, ReferenceStatistics
from sadm.evaluation.frechet import GaussianFit, frechet_distance
from sadm.training.model_folder import Model

AT_ONCE = 1000
"""Generated images of which features are kept together: what a stop may cost."""


@dataclasses.dataclass(frozen=True)
class Scoring:
    """What a model is scored by.

    Attributes:
        judge: the feature space; a distance in Inception's is called FID.
        reference: published statistics; None = those of the training images.
        images: how many are generated.
        seed: of these images.
        at_once: of them at a time.
    """

    judge: Judge
    reference: ReferenceStatistics | None
    images: int
    seed: int = 0
    at_once: int = AT_ONCE


def score(model: Model, training: ImageSet, how: Scoring, folder: Path, reporter: Reporter) -> float:
    """The Fréchet distance of a model's images; what was drawn before a stop is kept in `folder`.

    Args:
        model: draws images at the frequencies of its training labels.
        training: its training images.
        how: see there.
        folder: for features; of this model, judge and seed alone.
        reporter: told about images and features.

    Raises:
        DivergedError: the model draws NaN or infinity.
        InterruptedRun: stopped by Ctrl-C; the same call goes on.
    """
    remove_leftovers(make_folder(folder))
    labels = model.training_labels(how.images, how.seed)
    parts = []
    with StopRequest() as stop:
        for first in range(0, how.images, how.at_once):
            count = min(how.at_once, how.images - first)
            own = None if labels is None else labels[first : first + count]

            def features(first: int = first, count: int = count, own: torch.Tensor | None = own) -> np.ndarray:
                return how.judge.features(_drawn(model, first, count, own, how.seed))

            if stop.requested:
                raise InterruptedRun(f"Stopped after {first} of {how.images} images. To go on, run the same command.")
            parts.append(_kept(folder / f"features-{how.seed}-{first}-{count}.npy", features))
            reporter.update("images to be scored", first + count, how.images)
    if how.reference is not None:
        fit = how.reference.fit
    else:
        reporter.say(f"Features of the {len(training)} training images.")
        fit = GaussianFit.of(how.judge.features(training))
    return frechet_distance(GaussianFit.of(np.concatenate(parts)), fit)


def _drawn(model: Model, first: int, count: int, labels: torch.Tensor | None, seed: int) -> ImageSet:
    drawn = model.sample(count, seed, labels, first=first)
    if not bool(torch.isfinite(drawn).all()):
        raise DivergedError("the trained model draws NaN or infinite pixels: it has diverged.", step=0)
    names = tuple(str(first + place) for place in range(count))
    return ImageSet(to_uint8(drawn), None, (), names, "generated")


def _kept(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """What `make` gives, from a file where it is there already."""
    if not path.exists():
        content = io.BytesIO()
        np.save(content, make().astype(np.float32))
        write_atomically(path, content.getvalue())
    kept: np.ndarray = np.load(path, allow_pickle=False)
    return kept.astype(np.float64)
