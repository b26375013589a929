"""What maps of defects score: area under the ROC curve over images, average precision over pixels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

LEVELS = 1000
"""Probabilities are told apart at so many levels, evenly spaced, so that scores can be summed up image by image."""


class Found:
    """What one detector says of test images.

    Args:
        maps: probabilities of a defect [T, H, W].
        masks: what is marked [T, 1, H, W], uint8; an image in which nothing is marked is good.

    Attributes:
        scores: of images [T]: the highest probability after averaging over 3x3 pixels, so that a single pixel decides nothing.
        marked: whether anything is marked in each [T], bool.
        positives, negatives: marked and other pixels by level of their probability [T, LEVELS].
    """

    def __init__(self, maps: torch.Tensor, masks: torch.Tensor) -> None:
        smooth = F.avg_pool2d(maps[:, None], 3, stride=1, padding=1, count_include_pad=False)
        self.scores = smooth.flatten(1).amax(1).double().numpy()
        inside = (masks[:, 0] >= 128).flatten(1)
        self.marked = inside.any(1).numpy()
        levels = levels_of(maps).flatten(1)
        self.positives, self.negatives = (
            torch.stack([torch.bincount(row[part], minlength=LEVELS) for row, part in zip(levels, which, strict=True)])
            .double()
            .numpy()
            for which in (inside, ~inside)
        )

    def roc(self, counts: np.ndarray | None = None) -> np.ndarray:
        """Area under the ROC curve over images.

        Args:
            counts: how often each image is counted [D, T], for D samples of them; None = each once, D = 1.

        Returns:
            [D].
        """
        return area_under_roc(self.scores, self.marked, self._counts(counts))

    def precision(self, counts: np.ndarray | None = None) -> np.ndarray:
        """Average precision over the pixels of images; arguments and result as of `roc`."""
        counts = self._counts(counts)
        return average_precision(counts @ self.positives, counts @ self.negatives)

    def _counts(self, counts: np.ndarray | None) -> np.ndarray:
        return np.ones((1, len(self.scores))) if counts is None else counts


def levels_of(maps: torch.Tensor) -> torch.Tensor:
    """Probabilities as levels from 0 to LEVELS - 1, int64."""
    return (maps * LEVELS).long().clamp(0, LEVELS - 1)


def area_under_roc(scores: np.ndarray, positive: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The share of pairs of a positive and a negative in which the positive has the higher score; ties count half.

    Args:
        scores: [N].
        positive: [N], bool.
        counts: how often each is counted [D, N], both kinds at least once.

    Returns:
        [D].

    Raises:
        ValueError: one kind alone.
    """
    _, place = np.unique(scores, return_inverse=True)
    table = np.zeros((2, len(counts), int(place.max()) + 1))  # counts of negatives and positives by distinct score
    for row, kind in ((0, ~positive), (1, positive)):
        np.add.at(table[row].T, place[kind], counts[:, kind].T)
    below = np.cumsum(table[0], axis=1) - table[0] / 2  # negatives below, those that tie by half
    pairs = table[0].sum(1) * table[1].sum(1)
    if not (pairs > 0).all():
        raise ValueError("an area under the ROC curve needs positives and negatives")
    return (below * table[1]).sum(1) / pairs


def average_precision(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """The sum over thresholds of precision times what recall gains there.

    Args:
        positives, negatives: counts by level [D, L], lowest level first; at least one positive.

    Returns:
        [D].
    """
    hits, misses = (np.cumsum(counts[:, ::-1], axis=1) for counts in (positives, negatives))
    gained = positives[:, ::-1] / hits[:, -1:]
    return (hits / np.maximum(hits + misses, 1e-300) * gained).sum(1)
