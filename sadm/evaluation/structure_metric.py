"""How well the arrangement of generated images among each other reproduces that of real ones.

Four gaps, each 0 for equal distributions up to what a finite number of images adds, which real images against real images in
the same number show (the floor). They are our own; single parts have sources.

Let D and D' be the distances among generated and among real features, both divided by the mean real distance: their scale
plays no part, but a set that is spread too little or too much shows.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F
from scipy import linalg
from scipy.spatial.distance import cdist, squareform

from sadm.core.errors import UserError
from sadm.evaluation.checks import checked_pair
from sadm.evaluation.coverage import NEIGHBOURS

PATCH_GRID = 2
PATCH_SIZE = 8


@dataclasses.dataclass(frozen=True)
class StructureGaps:
    """Gaps between the arrangements of two sets.

    Attributes:
        distances: 1-Wasserstein distance between the distributions of pairwise distances, in mean real distances; >= 0.
        spectrum: half the sum of differences between the ordered eigenvalues of both affinity graphs exp(-D^2 / 2) / N; in
            [0, 1]. The entropy of these eigenvalues is the Vendi score's (Friedman & Dieng 2022, arXiv 2210.02410).
        mixing: by how much more often than by chance an image's nearest neighbours in the union of both sets come from its own
            set (Schilling 1986, JASA 81); 1 = always. Below 0 the sets interleave more than independent ones do: copies.
        classes: difference between the ratios of the mean distance within classes to that between classes; >= 0. None without
            labels.
    """

    distances: float
    spectrum: float
    mixing: float
    classes: float | None = None


def structure_gaps(
    features: np.ndarray,
    reference: np.ndarray,
    labels: np.ndarray | None = None,
    reference_labels: np.ndarray | None = None,
    neighbours: int = NEIGHBOURS,
) -> StructureGaps:
    """Compares the arrangement of generated features with that of as many real ones.

    Args:
        features: [N, d]; N > `neighbours`. Time and memory grow with N^2, the spectrum's time with N^3.
        reference: [N, d].
        labels: [N], integers, of `features`; None = classes are not compared.
        reference_labels: [N], of `reference`.
        neighbours: whose origin `mixing` counts.

    Raises:
        UserError: different numbers of images or features, too few images, values that are not finite, real features that are
            all equal, or labels that leave no pair within or between classes.
    """
    x, y = checked_pair(features, reference, neighbours + 1, f"structure with {neighbours} neighbours")
    if len(x) != len(y):
        raise UserError(f"structure is compared between equal numbers of images, got {len(x)} and {len(y)}.")
    ours, real = cdist(x, x), cdist(y, y)  # [N, N]
    scale = float(_pairs(real).mean())
    if scale == 0:
        raise UserError(
            f"all {len(y)} real images have the same features, so that they have no structure to compare with. Take another "
            "feature space or other reference images."
        )
    gaps = {
        "distances": float(np.abs(np.sort(_pairs(ours)) - np.sort(_pairs(real))).mean()) / scale,
        "spectrum": float(np.abs(_spectrum(ours / scale) - _spectrum(real / scale)).sum()) / 2,
        "mixing": _mixing(ours, real, cdist(x, y), neighbours),
    }
    if labels is None or reference_labels is None:
        return StructureGaps(**gaps)
    ratios = [_class_ratio(matrix, values) for matrix, values in ((ours, labels), (real, reference_labels))]
    return StructureGaps(**gaps, classes=abs(ratios[0] - ratios[1]))


def patch_gaps(
    images: torch.Tensor,
    reference: torch.Tensor,
    labels: np.ndarray | None = None,
    reference_labels: np.ndarray | None = None,
    grid: int = PATCH_GRID,
) -> StructureGaps:
    """`structure_gaps` of the pixels of patches: among the patches at one place, averaged over places.

    Places at which all real images are equal, such as an empty corner, have no structure and are left out.

    Args:
        images: [N, C, H, W], in [-1, 1].
        reference: [N, C, H, W].
        labels: see `structure_gaps`.
        reference_labels: likewise.
        grid: patches in each direction.

    Raises:
        UserError: as `structure_gaps`, another image shape, or real images that are equal at each place.
    """
    if images.shape[1:] != reference.shape[1:]:
        raise UserError(f"images of different shape: {tuple(images.shape[1:])} and {tuple(reference.shape[1:])}.")
    places = [
        (x, y)
        for x, y in zip(patches(images, grid), patches(reference, grid), strict=True)
        if len(y) == 0 or np.ptp(y, axis=0).any() or not np.isfinite(y).all()
    ]
    if not places:
        raise UserError("all real images are equal in each patch, so that they have no structure to compare with.")
    found = [structure_gaps(x, y, labels, reference_labels) for x, y in places]
    return mean_gaps(found)


def patches(images: torch.Tensor, grid: int = PATCH_GRID) -> list[np.ndarray]:
    """Pixels of patches, place by place, row by row.

    Args:
        images: [N, C, H, W].
        grid: patches in each direction; rows and columns that remain at the lower and right edge are left out.

    Returns:
        grid^2 arrays [N, C * h * w], float64; patches of more than `PATCH_SIZE` pixels in a direction are averaged down to that.

    Raises:
        UserError: images smaller than the grid, or another shape.
    """
    if images.ndim != 4 or min(images.shape[-2:]) < grid or grid < 1:
        raise UserError(
            f"expected images [N, C, H, W] of at least {grid}x{grid} pixels, got shape {tuple(images.shape)}."
        )
    height, width = images.shape[-2] // grid, images.shape[-1] // grid
    size = min(height, PATCH_SIZE), min(width, PATCH_SIZE)
    found = []
    for row in range(grid):
        for column in range(grid):
            part = images[..., row * height : (row + 1) * height, column * width : (column + 1) * width].double()
            small = F.adaptive_avg_pool2d(part, size)  # [N, C, h, w]
            found.append(small.flatten(1).numpy())
    return found


def mean_gaps(found: list[StructureGaps]) -> StructureGaps:
    """The mean of each gap; of `classes` where all have it."""
    classes = [gaps.classes for gaps in found if gaps.classes is not None]
    return StructureGaps(
        distances=float(np.mean([gaps.distances for gaps in found])),
        spectrum=float(np.mean([gaps.spectrum for gaps in found])),
        mixing=float(np.mean([gaps.mixing for gaps in found])),
        classes=float(np.mean(classes)) if len(classes) == len(found) else None,
    )


def _pairs(distances: np.ndarray) -> np.ndarray:
    """The distances of pairs i < j from a symmetric matrix."""
    return squareform(distances, checks=False)


def _spectrum(distances: np.ndarray) -> np.ndarray:
    """Eigenvalues, adding up to 1, of the affinity graph, in ascending order."""
    return linalg.eigvalsh(np.exp(-(distances**2) / 2) / len(distances))


def _mixing(ours: np.ndarray, real: np.ndarray, between: np.ndarray, neighbours: int) -> float:
    count = len(ours)
    union = np.block([[ours, between], [between.T, real]])  # [2N, 2N]
    np.fill_diagonal(union, np.inf)
    nearest = np.argpartition(union, neighbours - 1, axis=1)[:, :neighbours]  # [2N, k]
    own = (nearest < count) == (np.arange(2 * count) < count)[:, None]
    chance = (count - 1) / (2 * count - 1)
    return float((own.mean() - chance) / (1 - chance))


def _class_ratio(distances: np.ndarray, labels: np.ndarray) -> float:
    """Mean distance within classes over that between classes; 1 where all images are equal."""
    labels = np.asarray(labels)
    if labels.shape != (len(distances),):
        raise UserError(f"expected one label for each of {len(distances)} images, got shape {labels.shape}.")
    same = labels[:, None] == labels[None, :]
    within, between = same & ~np.eye(len(labels), dtype=bool), ~same
    if not within.any() or not between.any():
        raise UserError("structure of classes needs two classes at least, and two images of one.")
    apart = float(distances[between].mean())
    return float(distances[within].mean()) / apart if apart > 0 else 1.0
