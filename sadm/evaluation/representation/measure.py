"""Representation quality: what simple classifiers find in a denoiser's features of images, clean and corrupted."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from sklearn.exceptions import ConvergenceWarning

from sadm.core.devices import one_thread
from sadm.core.errors import UserError
from sadm.core.progress import Reporter, Silent
from sadm.data import ImageSet
from sadm.data.splitting import keep_few, split_by_class
from sadm.evaluation.downstream.measure import check
from sadm.evaluation.representation.activations import SIGMAS, Activations
from sadm.evaluation.representation.corruptions import CORRUPTIONS
from sadm.evaluation.representation.probes import PROBES, fitted

MOST = 5000
"""Training images that a probe learns from, at most; each class in proportion."""
VALIDATION = 0.2
"""Share of these on which block and noise level are chosen."""
TASK = "probes"
_SEED = 0
Place = tuple[str, float]
"""A module's name and a noise level."""


def measure_representation(
    activations: Activations,
    training: ImageSet,
    test: ImageSet,
    sigmas: tuple[float, ...] = SIGMAS,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Accuracy of probes on a denoiser's features; the numbers for JSON, see docs/downstream.md.

    For each probe, block and noise level are those that do best on a slice of the training images; the probe then learns from all
    of them, clean, and is judged on test images, clean and corrupted. Beside it, the same probe on the pixels themselves.

    Args:
        activations: of the denoiser.
        training: real images, labelled.
        test: real images that nothing was chosen by, labelled.
        sigmas: noise levels to choose from.
        reporter: told about progress.

    Raises:
        UserError: no labels, one class alone, too few images, or features that are not finite.
    """
    check(training, test)
    training = keep_few(training, MOST, _SEED)
    shown, total = reporter or Silent(), len(sigmas) + len(PROBES) + 1
    slices = split_by_class(training, VALIDATION, _SEED)
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fixed budget is part of the probe's definition
        candidates = []
        for done, sigma in enumerate(sigmas):
            shown.update(TASK, done, total, f"noise level {sigma:g}")
            candidates += _candidates(activations, slices.train, slices.held_out, sigma)
        found: dict[str, Any] = {}
        for done, probe in enumerate(PROBES, start=len(sigmas)):
            shown.update(TASK, done, total, probe)
            best = max(candidates, key=lambda candidate: candidate[probe])
            place = best["block"], best["sigma"]
            found[probe] = {"block": place[0], "sigma": place[1], **_judged(activations, probe, place, training, test)}
        shown.update(TASK, total - 1, total, "pixels")
        pixels = {probe: _judged(activations, probe, None, training, test) for probe in PROBES}
    shown.update(TASK, total, total)
    return {
        "training_images": len(training),
        "validation_images": len(slices.held_out),
        "held_out_images": len(test),
        "candidates": candidates,
        **found,
        "pixels": pixels,
    }


def _candidates(activations: Activations, learn: ImageSet, check_on: ImageSet, sigma: float) -> list[dict[str, Any]]:
    """Validation accuracy of each probe at each block."""
    ours, theirs = (
        activations.of(images.floats(), sigma, part) for images, part in ((learn, "learn"), (check_on, "check"))
    )
    return [
        {
            "block": name,
            "sigma": sigma,
            **{
                probe: float((_fit(probe, ours[name], learn).predict(theirs[name]) == _labels(check_on)).mean())
                for probe in PROBES
            },
        }
        for name in activations.modules
    ]


def _judged(
    activations: Activations, probe: str, place: Place | None, training: ImageSet, test: ImageSet
) -> dict[str, dict[str, float]]:
    """Accuracy on test images by corruption, with Wilson's 95 % interval over them; `place` None = on pixels."""
    model = _fit(probe, _features(activations, place, training.floats(), "training"), training)
    scores = {}
    for name, corrupt in CORRUPTIONS.items():
        features = _features(activations, place, corrupt(test.floats()), "test")
        right = int((model.predict(features) == _labels(test)).sum())
        bounds = binomtest(right, len(test)).proportion_ci(method="wilson")
        scores[name] = {"accuracy": right / len(test), "low": float(bounds.low), "high": float(bounds.high)}
    return scores


def _features(activations: Activations, place: Place | None, images: torch.Tensor, part: str) -> np.ndarray:
    if place is None:
        return images.flatten(1).double().numpy()
    return activations.of(images, place[1], part)[place[0]]


def _fit(probe: str, features: np.ndarray, images: ImageSet) -> Any:
    if not np.isfinite(features).all():
        raise UserError(
            "the denoiser's features hold NaN or infinity: the model has diverged. Use an earlier checkpoint."
        )
    return fitted(probe, features, _labels(images))


def _labels(images: ImageSet) -> np.ndarray:
    assert images.labels is not None  # noqa: S101 - checked before
    return images.labels.numpy()
