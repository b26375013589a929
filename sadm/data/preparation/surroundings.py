"""How different an image's surroundings are: the standard by which a copy is told from another image of the same kind."""

from __future__ import annotations

import numpy as np
import torch

from sadm.core.seeds import generator

_RANK = 6  # the nearest other image but so many is the standard
_REFERENCES = 4096  # images that may be surroundings; of more, as many are drawn
_LISTED = 64  # neighbours of each image that are kept
_ALONE = 0.05  # the standard where there are no others
_ROWS = 256  # at a time


class Surroundings:
    """The nearest neighbours of each image in a set.

    Args:
        images: fingerprints [N, S, S] of mean 0 and norm 1.
        seed: chooses the references where there are more images than that.
    """

    def __init__(self, images: np.ndarray, seed: int) -> None:
        self.count = len(images)
        drawn = torch.randperm(self.count, generator=generator(seed, "surroundings"))[:_REFERENCES].numpy()
        listed = min(_LISTED + 1, len(drawn))
        flat = images.reshape(self.count, -1)
        references = np.ascontiguousarray(flat[drawn].T)
        places, differences = [], []
        for start in range(0, self.count, _ROWS):
            part = 1 - flat[start : start + _ROWS] @ references  # [rows, references]
            nearest = np.argpartition(part, listed - 1, axis=1)[:, :listed]
            part = np.take_along_axis(part, nearest, axis=1)
            order = np.argsort(part, axis=1)
            places.append(drawn[np.take_along_axis(nearest, order, axis=1)])
            differences.append(np.take_along_axis(part, order, axis=1))
        self.places, self.differences = np.concatenate(places), np.concatenate(differences)  # [N, listed]

    @property
    def widest(self) -> np.ndarray:
        """More than `differing` can ever say [N]."""
        return np.full(self.count, _ALONE) if self.count < 3 else self.differences[:, -1]

    def differing(self, cluster: np.ndarray) -> np.ndarray:
        """Difference of each image from the sixth nearest cluster beside its own [N].

        Args:
            cluster: of each image [N]; copies that are known to be copies count once.
        """
        if self.count < 3:
            return np.full(self.count, _ALONE)
        labels = cluster[self.places]
        rank = np.zeros(labels.shape, dtype=np.int64)
        for column in range(labels.shape[1]):
            here = labels[:, column]
            new = (labels[:, :column] != here[:, None]).all(axis=1) & (here != cluster)
            rank[:, column] = new + (rank[:, column - 1] if column else 0)
        wanted = np.minimum(_RANK, rank[:, -1])  # a small set has fewer
        at = (rank >= wanted[:, None]).argmax(axis=1)
        at[rank[:, -1] == 0] = -1  # all that is near is a copy of it
        return self.differences[np.arange(self.count), at]
