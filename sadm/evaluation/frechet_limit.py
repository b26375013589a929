"""The Fréchet distance that infinitely many images would have (Chong & Forsyth 2020, arXiv 1911.07023).

At N images it is too large by about a constant over N, and the constant depends on the generator, so that equal N does not make
generators comparable to the last digit. The paper fits a line over 1 / N and reads it at 0.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from sadm.core.errors import UserError
from sadm.core.seeds import derive_seed
from sadm.evaluation.checks import checked_features, refuse_other_length
from sadm.evaluation.frechet import GaussianFit, frechet_distance

PIECES = 5
BLOCKS = 10


@dataclasses.dataclass(frozen=True)
class FrechetLimit:
    """A line through distances over 1 / N.

    Attributes:
        value: the line at 1 / N = 0; may be negative for sets that are as good as equal.
        standard_error: of the sampling of images, by a jackknife over blocks of images; too large rather than too small. None
            without blocks.
        slope: of the line, in distance times images.
        fit_error: standard error of the intercept by ordinary least squares. It tells how straight the line is, not how far
            another sample's would lie: all points come from one set of images.
        sizes: numbers of generated images behind each point.
        distances: at these sizes.
    """

    value: float
    standard_error: float | None
    slope: float
    fit_error: float
    sizes: tuple[int, ...]
    distances: tuple[float, ...]


def frechet_limit(
    features: np.ndarray,
    reference: np.ndarray | GaussianFit,
    pieces: int = PIECES,
    blocks: int = BLOCKS,
    seed: int = 0,
) -> FrechetLimit:
    """The distance at infinitely many images.

    Point j is the mean distance of j disjoint pieces of N / j images each, so that every point uses all images and points are
    evenly spaced in 1 / N. The paper draws 15 overlapping subsets, evenly spaced in N.

    Args:
        features: of generated images [N, d].
        reference: of real images [M, d], cut into pieces likewise, so that both go to infinity; or a fit, which stays as it is,
            as in the paper: then what its own finite number adds remains.
        pieces: points on the line, at least 3.
        blocks: of the jackknife, at least 2; 0 = no `standard_error`. It costs as many times the work.
        seed: of the order that images are cut in.

    Raises:
        UserError: so few images in the smallest piece that distances lie on no line (fewer than the dimensions that features
            effectively spread over, (tr C)^2 / tr C^2), values that are not finite, or different lengths.
    """
    if pieces < 3 or blocks == 1 or blocks < 0:
        raise UserError(f"expected at least 3 pieces and 0 or at least 2 blocks, got {pieces} and {blocks}.")
    x = checked_features(features, 2, "an extrapolation")
    y = reference if isinstance(reference, GaussianFit) else checked_features(reference, 2, "an extrapolation")
    refuse_other_length(x, y.mean if isinstance(y, GaussianFit) else y)
    for values in (x, y):
        if not isinstance(values, GaussianFit):
            _refuse_short_pieces(values, pieces, blocks)
    draws = np.random.default_rng(derive_seed("Fréchet limit", seed))
    x = x[draws.permutation(len(x))]
    y = y if isinstance(y, GaussianFit) else y[draws.permutation(len(y))]
    sizes, distances = _points(x, y, pieces)
    value, slope, fit_error = _line(sizes, distances)
    left = [_line(*_points(_without(x, i, blocks), _without(y, i, blocks), pieces))[0] for i in range(blocks)]
    error = float(((blocks - 1) * np.var(left)) ** 0.5) if blocks else None
    return FrechetLimit(value, error, slope, fit_error, tuple(sizes), tuple(distances))


def effective_dimension(features: np.ndarray) -> float:
    """``(tr C)^2 / tr C^2``, in [1, min(N, d)]: over how many dimensions features [N, d] spread; 0 for constant ones."""
    centred = features - features.mean(axis=0)
    gram = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    square = float((gram**2).sum())
    return float(np.trace(gram) ** 2 / square) if square else 0.0


def _refuse_short_pieces(values: np.ndarray, pieces: int, blocks: int) -> None:
    kept = len(values) - (-(-len(values) // blocks) if blocks else 0)
    piece, needed = kept // pieces, max(2.0, effective_dimension(values))
    if piece < needed:
        raise UserError(
            f"{len(values)} images in {pieces} pieces leave {piece} images in the smallest, but their features spread over "
            f"{needed:.0f} dimensions: distances at so few images lie on no line over 1 / N. Give more images or fewer pieces."
        )


def _points(x: np.ndarray, y: np.ndarray | GaussianFit, pieces: int) -> tuple[list[int], list[float]]:
    """Sizes, and mean distances of that many disjoint pieces."""
    sizes, distances = [], []
    for parts in range(1, pieces + 1):
        found = []
        for i in range(parts):
            other = y if isinstance(y, GaussianFit) else GaussianFit.of(_piece(y, i, parts))
            found.append(frechet_distance(GaussianFit.of(_piece(x, i, parts)), other))
        sizes.append(len(x) // parts)
        distances.append(float(np.mean(found)))
    return sizes, distances


def _piece(values: np.ndarray, index: int, parts: int) -> np.ndarray:
    size = len(values) // parts
    return values[index * size : (index + 1) * size]


def _without(values: np.ndarray | GaussianFit, block: int, blocks: int) -> Any:
    """Without one block of images; a fit stays as it is."""
    if isinstance(values, GaussianFit):
        return values
    return np.delete(values, np.s_[block * len(values) // blocks : (block + 1) * len(values) // blocks], axis=0)


def _line(sizes: list[int], distances: list[float]) -> tuple[float, float, float]:
    """Intercept, slope and the intercept's standard error of ordinary least squares over 1 / size."""
    inverse, values = 1 / np.array(sizes, dtype=np.float64), np.array(distances)
    spread = inverse - inverse.mean()
    slope = float(spread @ values / (spread @ spread))
    intercept = float(values.mean() - slope * inverse.mean())
    rest = values - intercept - slope * inverse
    variance = rest @ rest / (len(values) - 2) * (1 / len(values) + inverse.mean() ** 2 / (spread @ spread))
    return intercept, slope, float(variance**0.5)
