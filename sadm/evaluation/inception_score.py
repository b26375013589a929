"""The Inception score (Salimans et al. 2016, arXiv 1606.03498): are single images classified surely, and all classes drawn?

It looks at no real image. With the probabilities of another classifier than Inception it is a score in that classifier's
classes, to be compared with nothing else.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import special

from sadm.core.errors import UserError

_SUM = 1e-3  # how far probabilities in single precision may be from adding up to 1


@dataclasses.dataclass(frozen=True)
class InceptionScore:
    """Mean and standard deviation over splits.

    Attributes:
        mean: in [1, number of classes].
        spread: dividing by the number of splits; 0 for one split.
    """

    mean: float
    spread: float


def inception_score(probabilities: np.ndarray, splits: int = 10, seed: int | None = 2020) -> InceptionScore:
    """``exp(mean KL(p(y | x) || p(y)))`` in each split, p(y) being the split's mean.

    Splits are shuffled and cut as torch-fidelity does. The score grows with the number of images in a split: compare equal
    numbers only.

    Args:
        probabilities: [N, C] of classes, each row adding up to 1, N >= `splits`.
        splits: the usual number is 10.
        seed: of the shuffle before the images are split; None = in their order.

    Raises:
        UserError: too few images, another shape, no probabilities, or values that are not finite.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise UserError(
            f"an Inception score needs probabilities [N, C] of at least 2 classes, got shape {values.shape}."
        )
    if splits < 1 or len(values) < splits:
        raise UserError(f"{len(values)} images can't be split into {splits} parts. Give more images, or fewer splits.")
    if not np.isfinite(values).all():
        raise UserError("probabilities hold NaN or infinite values; check the images that they were computed from.")
    if values.min() < 0 or np.abs(values.sum(axis=1) - 1).max() > _SUM:
        raise UserError(
            "rows of probabilities must be >= 0 and add up to 1; these look like logits. Apply a softmax first."
        )
    if seed is not None:
        values = values[np.random.RandomState(seed).permutation(len(values))]
    scores = []
    for i in range(splits):
        part = values[i * len(values) // splits : (i + 1) * len(values) // splits]
        divergence = special.rel_entr(part, part.mean(axis=0, keepdims=True)).sum(axis=1)  # [n]; 0 log 0 = 0
        scores.append(float(np.exp(divergence.mean())))
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))
