"""With so many new images, which drift would have been seen? Known changes of held-out images, tested as new images are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from sadm.core.seeds import derive_seed
from sadm.data import ImageSet
from sadm.evaluation.drift.changes import KINDS, changed
from sadm.evaluation.drift.relabelling import Gaussian
from sadm.evaluation.drift.support import Support

DRAWS = 200
SEEN = 0.8
"""A change counts as one that would have been seen where this share of draws is detected."""
MOST = 500  # held-out images that are changed

Facts = Callable[[ImageSet], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Baseline:
    """What changed images are compared with.

    Attributes:
        training: features by space [M, d].
        gallery: of all training images.
        support: of the new images.
        kernels: of each space.
        within: mean of the kernel over pairs of different training images, by space.
        facts: of the training images [M], by name, sorted.
        critical: what a statistic must exceed, by space and by fact.
        level: of each test alone.
    """

    training: dict[str, np.ndarray]
    gallery: dict[str, np.ndarray]
    support: Support
    kernels: dict[str, Gaussian]
    within: dict[str, float]
    facts: dict[str, np.ndarray]
    critical: dict[str, float]
    level: float


def detected(images: ImageSet, features: dict[str, np.ndarray], facts: dict[str, np.ndarray], count: int,
             baseline: Baseline, seed: int) -> float:  # fmt: skip
    """The share of draws of `count` of the images that any test tells from the training images.

    Args:
        images: H of them, changed.
        features: of these, by space [H, d].
        facts: of these, by name [H].
        count: images in a draw, at most H.
        baseline: to compare with.
        seed: of the draws.
    """
    draws = np.random.default_rng(derive_seed(seed, "power"))
    marks = np.zeros((DRAWS, len(images)), np.float32)
    for row in marks:
        row[draws.permutation(len(images))[:count]] = 1
    chosen, found = torch.from_numpy(marks), np.zeros(DRAWS, bool)
    for name, kernel in baseline.kernels.items():
        own = kernel(features[name], features[name]).fill_diagonal_(0)
        across = kernel(features[name], baseline.training[name]).mean(1)
        pairs = ((chosen @ own) * chosen).sum(1) / max(1, count * (count - 1))
        values = pairs + baseline.within[name] - 2 * (chosen @ across) / count
        found |= values.numpy() > baseline.critical[name]
    for name, reference in baseline.facts.items():
        found |= _distances(facts[name], marks, reference, count) > baseline.critical[name]
    outside = marks @ baseline.support.lies_outside(features, baseline.gallery).astype(np.float32)
    found |= outside >= baseline.support.critical(count, baseline.level)
    return float(found.mean())


def smallest_seen(
    held_out: ImageSet,
    count: int,
    baseline: Baseline,
    describe: Callable[[ImageSet], tuple[dict[str, np.ndarray], dict[str, np.ndarray]]],
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[str, float | None]:
    """For each kind of change, the smallest size of `KINDS` that would be seen in `SEEN` of draws; None = none of them.

    Args:
        held_out: images like those of training.
        count: new images; more than there are held-out images count as so many.
        baseline: to compare with.
        describe: gives features by space and facts by name.
        seed: of the draws.
        progress: called with (kinds done, kinds in all).
    """
    found: dict[str, float | None] = {}
    images = held_out.subset(torch.arange(min(len(held_out), MOST)))
    count = min(count, len(images))
    for kind, (_, sizes) in KINDS.items():
        found[kind] = None
        for size in sizes:
            after = changed(images, kind, size)
            if detected(after, *describe(after), count, baseline, seed) >= SEEN:
                found[kind] = size
                break
        progress(len(found), len(KINDS))
    return found


def _distances(values: np.ndarray, marks: np.ndarray, reference: np.ndarray, count: int) -> np.ndarray:
    """Kolmogorov and Smirnov's distance of each draw [draws] from sorted reference values [M]."""
    points = np.unique(np.concatenate([values, reference]))
    other = np.searchsorted(reference, points, side="right") / len(reference)
    order = np.argsort(values, kind="stable")
    below = np.concatenate([np.zeros((len(marks), 1), np.float32), marks[:, order].cumsum(1)], axis=1) / count
    own = below[:, np.searchsorted(values[order], points, side="right")]
    return np.abs(own - other).max(1)
