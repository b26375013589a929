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


def precision_of(real: Sequence[Answers], label: int) -> float:
    """The precision at which classifiers are compared: that of all on real images together, and at least `LEAST`.

    A single classifier may call a handful of images by the name of a rare class, too few to take a precision from.
    """
    called = np.stack([answers.logits.argmax(axis=1) == label for answers in real])  # [S, N]
    right = called[:, real[0].labels == label].sum()
    return max(LEAST, float(right / called.sum())) if called.any() else LEAST


def found_of_classes(
    seeds: Sequence[Answers], real: Sequence[Answers], labels: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """What classifiers find of some classes at the precision of those on real images.

    Returns:
        1 or 0 for each seed and image of these classes [S, n], class by class, and the class of each image [n]; for where these
        images are, see `rows_of_classes`.
    """
    kept = {label: precision_of(real, label) for label in labels}
    rows = [np.concatenate([found_at(answers, label, kept[label]) for label in labels]) for answers in seeds]
    return np.stack(rows), real[0].labels[rows_of_classes(real[0], labels)]


def rows_of_classes(answers: Answers, labels: Sequence[int]) -> np.ndarray:
    """Where the images of some classes are among those asked about [n], int64, class by class."""
    return np.concatenate([np.flatnonzero(answers.labels == label) for label in labels])
