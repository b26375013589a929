"""How far variations are from their original and from each other, in several spaces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import torch

from sadm.data import ImageSet, to_floats
from sadm.evaluation.judges import RandomConvJudge
from sadm.evaluation.memorisation.copies import CopySearch

SPACES = ("rms", "texture", "unexplained")
_ORIGINALS = 20  # at most, whose distances to each other are taken
Mean = dict[str, float | None]
"""By space, a mean distance; None over no pairs."""


def measure_variety(originals: torch.Tensor, variations: torch.Tensor, names: Sequence[str]) -> dict[str, Any]:
    """Distances of variations to their original, and among those of one original.

    There are three: ``rms``, the root mean square of the pixels' difference in grey levels; ``texture``, the Euclidean distance
    in the features of `RandomConvJudge`, which knows no places; ``unexplained``, what is left of an image's contrast once the
    other is turned, shifted and re-coloured at best (`CopySearch`): 0 = a copy, 1 = nothing in common.

    Args:
        originals: [N, C, H, W], uint8.
        variations: P of each [N, P, C, H, W], uint8.
        names: of the originals.

    Returns:
        For JSON: ``images``, each with its mean ``distance`` to the original and the ``diversity`` among its variations; the
        ``mean`` of both over the images; and ``apart``, the distance between originals, to compare with. All are by space, None
        where there are no pairs.
    """
    count, each = variations.shape[:2]
    spaces = _Spaces(torch.cat([originals, variations.flatten(0, 1)]))
    images = []
    for row in range(count):
        own = range(count + row * each, count + (row + 1) * each)
        distance, diversity = spaces.mean((image, row) for image in own), spaces.mean(combinations(own, 2))
        images.append({"of": names[row], "distance": distance, "diversity": diversity})
    mean = {part: _mean_of([image[part] for image in images]) for part in ("distance", "diversity")}  # type: ignore[misc]
    return {"images": images, "mean": mean, "apart": spaces.mean(combinations(range(min(count, _ORIGINALS)), 2))}


class _Spaces:
    """Distances between images of a stack [N, C, H, W], uint8."""

    def __init__(self, images: torch.Tensor) -> None:
        names = tuple(str(row) for row in range(len(images)))
        judge = RandomConvJudge(images.shape[1])
        self.images = images
        self.features = torch.from_numpy(judge.features(ImageSet(images, None, (), names, "variations")))

    def mean(self, pairs: Iterable[tuple[int, int]]) -> Mean:
        return _mean_of([self._between(first, second) for first, second in pairs])

    def _between(self, first: int, second: int) -> Mean:
        a, b = self.images[first], self.images[second]
        texture = float((self.features[first] - self.features[second]).norm())
        return {"rms": root_mean_square(a, b), "texture": texture, "unexplained": unexplained(a, b)}


def root_mean_square(first: torch.Tensor, second: torch.Tensor) -> float:
    """Of the difference of two images [C, H, W], uint8, in grey levels."""
    return float((first.double() - second.double()).square().mean().sqrt())


def unexplained(first: torch.Tensor, second: torch.Tensor) -> float:
    """What the second image leaves unexplained of the first (see `CopySearch`); [C, H, W], uint8."""
    return float(CopySearch(to_floats(second[None])).nearest(to_floats(first[None])).distance[0])


def _mean_of(found: Sequence[Mean]) -> Mean:
    """The mean of distances, space by space."""
    means: Mean = {}
    for space in SPACES:
        known = [value for value in (one[space] for one in found) if value is not None]
        means[space] = round(sum(known) / len(known), 4) if known else None
    return means
