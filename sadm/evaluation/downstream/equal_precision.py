"""Recall at equal precision: a classifier that calls more images by a rare class's name finds more of them, which is no merit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sadm.evaluation.downstream.scores import Answers

LEAST = 0.5
"""Precision that is asked for at least, and where classifiers on real images call nothing by the class's name."""


def found_at(answers: Answers, label: int, precision: float) -> np.ndarray:
    """Which images of a class are found when as many images are called so as the precision allows.

    Images are called so in the order of how far the class's logit lies above the largest other one.

    Args:
        answers: a classifier's, K >= 2.
        label: the class.
        precision: that is kept, in [0, 1].

    Returns:
        1 or 0 for each image of the class, in their order, float64.
    """
    others = np.delete(answers.logits, label, axis=1).max(axis=1)
    order = np.argsort(others - answers.logits[:, label], kind="stable")
    of_class = answers.labels == label
    shares = of_class[order].cumsum() / np.arange(1, len(order) + 1)
    allowed = np.flatnonzero(shares >= precision)
    called = np.zeros(len(order))
    called[order[: allowed[-1] + 1 if len(allowed) else 0]] = 1.0
    return called[of_class]


def precision_of(real: Answers, label: int) -> float:
    """The precision at which classifiers are compared: that of one on real images, and at least `LEAST`."""
    own = float(real.precision[label])
    return max(own, LEAST) if np.isfinite(own) else LEAST


def found_of_classes(
    seeds: Sequence[Answers], real: Sequence[Answers], labels: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """What classifiers find of some classes at the precision of those on real images, seed by seed.

    Returns:
        1 or 0 for each seed and image of these classes [S, n], class by class, and the class of each image [n].
    """
    rows = [
        np.concatenate([found_at(answers, label, precision_of(other, label)) for label in labels])
        for answers, other in zip(seeds, real, strict=True)
    ]
    counts = [int((real[0].labels == label).sum()) for label in labels]
    return np.stack(rows), np.repeat(np.asarray(labels), counts)
