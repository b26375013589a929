"""What a classifier's logits score on real images."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from sklearn.metrics import confusion_matrix

METRICS = ("accuracy", "balanced_accuracy", "log_loss")
LOWER_IS_BETTER = ("log_loss",)


class Answers:
    """A classifier's answers about labelled images.

    Args:
        logits: [N, K].
        labels: class indices [N]; N >= 1.
        units: the number of each image's group [N] (see `unit_numbers`); None = all images are independent.

    Attributes:
        logits: as given [N, K], float64.
        losses: the negative log-probability of each image's own class [N], float64.
        correct: whether each image was given its own class [N], float64: 1 or 0.
        units: as given.
    """

    def __init__(self, logits: torch.Tensor, labels: torch.Tensor, units: np.ndarray | None = None) -> None:
        self.logits, self.units = logits.double().numpy(), units
        log_probabilities = logits.double().log_softmax(1)  # [N, K]
        self.losses = -log_probabilities.gather(1, labels[:, None])[:, 0].numpy()
        self.correct = (logits.argmax(1) == labels).double().numpy()
        self.labels = labels.numpy()
        self._table = confusion_matrix(self.labels, logits.argmax(1).numpy(), labels=np.arange(logits.shape[1]))

    def by_image(self, metric: str) -> np.ndarray:
        """What a metric of `METRICS` is the mean of [N]: over images, or over each class's images and then over classes."""
        return self.losses if metric == "log_loss" else self.correct

    def units_at(self, rows: np.ndarray) -> np.ndarray | None:
        """Groups of the images at rows [n]; None where all are independent."""
        return None if self.units is None else self.units[rows]

    def score(self, metric: str) -> float:
        """A metric of `METRICS`; balanced accuracy is the mean of recalls over the classes that these images have."""
        if metric == "balanced_accuracy":
            return float(np.nanmean(self.recall))
        return float(self.by_image(metric).mean())

    def error(self, metric: str) -> float:
        """A metric as an error above 0: the log-loss, or the share of wrong answers with half a wrong one added."""
        if metric == "log_loss":
            return self.score(metric)
        if metric == "accuracy":
            return float((len(self.correct) - self.correct.sum() + 0.5) / (len(self.correct) + 1))
        images, right = self._table.sum(1), self._table.diagonal()
        shares = (images - right + 0.5) / (images + 1)
        return float(shares[images > 0].mean())

    @cached_property
    def recall(self) -> np.ndarray:
        """Of each class, the share of its images that were found [K]; NaN where it has none."""
        return _shares(self._table.diagonal(), self._table.sum(1))

    @cached_property
    def precision(self) -> np.ndarray:
        """Of each class, the share of images called so that are [K]; NaN where none was called so."""
        return _shares(self._table.diagonal(), self._table.sum(0))


def _shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
