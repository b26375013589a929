"""How different an image's surroundings are: the standard by which a copy is told from another image of the same kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sadm.core.seeds import generator

_RANK = 6  # the nearest other image but so many is the standard
_REFERENCES = 4096  # images that may be surroundings; of more, as many are drawn
_LISTED = 64  # neighbours of each image that are kept
_ALONE = 0.05  # the standard where there are no others
_ROWS = 256  # at a time
_FEWEST = 3  # images of a class: of two, nobody can tell by the class whether they are copies


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

    def differing(self, cluster: np.ndarray, otherwise: float | None = None) -> np.ndarray:
        """Difference of each image from the sixth nearest cluster beside its own, or the farthest of fewer [N].

        Args:
            cluster: of each image [N]; copies that are known to be copies count once.
            otherwise: where there is no other cluster; None = the difference of the farthest copy.
        """
        if self.count < 3:
            return np.full(self.count, _ALONE if otherwise is None else otherwise)
        labels = cluster[self.places]
        rank = np.zeros(labels.shape, dtype=np.int64)
        for column in range(labels.shape[1]):
            here = labels[:, column]
            new = (labels[:, :column] != here[:, None]).all(axis=1) & (here != cluster)
            rank[:, column] = new + (rank[:, column - 1] if column else 0)
        wanted = np.minimum(_RANK, rank[:, -1])  # a small set has fewer
        at = (rank >= wanted[:, None]).argmax(axis=1)
        at[rank[:, -1] == 0] = -1  # all that is near is a copy of it
        found = self.differences[np.arange(self.count), at]
        return found if otherwise is None else np.where(rank[:, -1] == 0, otherwise, found)


class SmallClasses:
    """The same within each class that is so small that its images' sixth nearest may be of another class.

    Args:
        images: fingerprints [N, S, S] of mean 0 and norm 1.
        labels: the class of each; None = of none.
    """

    def __init__(self, images: np.ndarray, labels: Sequence[str | None]) -> None:
        members: dict[str, list[int]] = {}
        for i, label in enumerate(labels):
            if label is not None:
                members.setdefault(label, []).append(i)
        small = [np.array(index) for index in members.values() if _FEWEST <= len(index) <= _LISTED]
        self._classes = [(index, Surroundings(images[index], 0)) for index in small]

    def bound(self, around: np.ndarray, cluster: np.ndarray) -> np.ndarray:
        """`Surroundings.differing` of all images, and no more than the farthest image of a small class differs [N]."""
        bounded = around.copy()
        for index, surroundings in self._classes:
            bounded[index] = np.minimum(around[index], surroundings.differing(cluster[index], np.inf))
        return bounded
