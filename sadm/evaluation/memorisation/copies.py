"""The nearest image of a set, whether it was flipped, turned, shifted by a few pixels or re-coloured."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional

from sadm.data.preparation.duplicates import ORIENTATIONS
from sadm.evaluation.memorisation.registration import overlap, register, shifts_within

LARGEST_SIDE = 64  # pixels at which images are brought into register; larger ones are averaged down
_COARSE_SIDE = 16  # at most, where every pair of images is compared
_CANDIDATES = 4  # of each query that are brought into register
_SIMILARITIES = 1 << 25  # held at a time
_MOST_QUERIES = 256  # at a time
_KEPT_ASPECT = 4  # the first so many orientations keep an image's width and height

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Matches:
    """The nearest image of each query.

    Attributes:
        index: which [N], int64.
        distance: what it leaves unexplained [N]; see `unexplained`.
        orientation: how the query must be turned to look like it [N], index into `ORIENTATIONS`.
        shift: of the nearest image onto the turned query (down, right) [N, 2], in pixels after averaging down.
    """

    index: torch.Tensor
    distance: torch.Tensor
    orientation: torch.Tensor
    shift: torch.Tensor


class CopySearch:
    """Finds in a set of images what is most like a query, whatever its orientation, place and colours.

    All pairs are compared at 16 pixels a side or less, in all orientations and at all shifts up to a tenth of the side; the
    best few are brought into register at up to 64 pixels a side.

    Args:
        images: [M, C, H, W], float32 in [-1, 1]; M >= 1.
    """

    def __init__(self, images: torch.Tensor) -> None:
        self.images = _reduced(images)
        square = images.shape[2] == images.shape[3]
        self.orientations = range(len(ORIENTATIONS) if square else _KEPT_ASPECT)

    def nearest(
        self,
        queries: torch.Tensor,
        own: torch.Tensor | None = None,
        progress: Progress = lambda done, total: None,
    ) -> Matches:
        """The nearest image of each query.

        Args:
            queries: [N, C, H, W], float32 in [-1, 1].
            own: index [N] of an image that is not to be found, such as the query itself; needs M >= 2.
            progress: called with (queries done, queries in all).
        """
        found = []
        rows = max(1, min(_MOST_QUERIES, _SIMILARITIES // (len(self.orientations) * len(self.images))))
        for start in range(0, len(queries), rows):
            part = slice(start, start + rows)
            found.append(self._nearest(_reduced(queries[part]), None if own is None else own[part]))
            progress(min(start + rows, len(queries)), len(queries))
        return Matches(*(torch.cat(values) for values in zip(*found, strict=True)))

    def _nearest(self, queries: torch.Tensor, own: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        turned = torch.stack([turn(queries, orientation) for orientation in self.orientations])  # [O, n, C, H, W]
        index, orientation = self._candidates(turned, own)  # [n, K]
        count, kept = index.shape
        rows = torch.arange(count)[:, None].expand(count, kept)
        shift, distance = register(turned[orientation, rows].flatten(0, 1), self.images[index].flatten(0, 1))
        distance, best = distance.reshape(count, kept).min(dim=1)
        rows = torch.arange(count)
        return index[rows, best], distance, orientation[rows, best], shift.reshape(count, kept, 2)[rows, best]

    def _candidates(self, turned: torch.Tensor, own: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The images most similar when coarse, and the orientation that they are most similar in; [n, K] each."""
        orientations, count = turned.shape[:2]
        best = torch.full((count, len(self.images)), -torch.inf)
        for ours, theirs in self._coarse(turned):
            similar = (ours @ theirs.T).reshape(orientations, count, -1)  # [O, n, M]
            torch.maximum(best, similar.amax(dim=0), out=best)
        if own is not None:
            best[torch.arange(count), own] = -torch.inf
        index = best.topk(min(_CANDIDATES, len(self.images) - (own is not None)), dim=1).indices
        of_each = torch.full((orientations, *index.shape), -torch.inf)
        for ours, theirs in self._coarse(turned):  # again, for the few alone: to remember which was best costs more
            similar = torch.einsum("onp,nkp->onk", ours.reshape(orientations, count, -1), theirs[index])
            torch.maximum(of_each, similar, out=of_each)
        return index, of_each.argmax(dim=0)

    def _coarse(self, turned: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """At each shift, what queries [O n, P] and images [M, P] both show: grey, averaged, of mean 0 and norm 1.

        Averaging into coarse pixels is done at each place of their grid that is half a coarse pixel from another: a copy that
        was shifted by half of one would look like another image.
        """
        images, queries = self.images.mean(1), turned.mean(2).flatten(0, 1)
        factor = _coarse_factor(images)
        half = max(1, factor // 2)
        for down, right in shifts_within(images.shape[1] // half, images.shape[2] // half):
            ours, theirs = overlap(queries, images, half * down, half * right)
            yield _normalised(_averaged(ours, factor)), _normalised(_averaged(theirs, factor))


def turn(images: torch.Tensor, orientation: int) -> torch.Tensor:
    """Images [..., H, W] in one of `ORIENTATIONS`, by its index."""
    if orientation & 4:
        images = images.transpose(-1, -2)
    if orientation & 1:
        images = images.flip(-1)
    if orientation & 2:
        images = images.flip(-2)
    return images


def _reduced(images: torch.Tensor) -> torch.Tensor:
    """Averaged down to at most `LARGEST_SIDE`."""
    factor = 1
    while max(images.shape[2:]) > LARGEST_SIDE * factor:
        factor *= 2
    return functional.avg_pool2d(images, factor) if factor > 1 else images


def _coarse_factor(images: torch.Tensor) -> int:
    factor = 1
    while max(images.shape[1:]) > _COARSE_SIDE * factor:
        factor *= 2
    return factor


def _averaged(images: torch.Tensor, factor: int) -> torch.Tensor:
    """[n, H, W] averaged over squares of a side of `factor`; several times as fast as pooling on windows of a larger image."""
    height, width = (side // factor * factor for side in images.shape[1:])
    rows = functools.reduce(torch.add, (images[:, i:height:factor, :width] for i in range(factor)))
    return functools.reduce(torch.add, (rows[..., j::factor] for j in range(factor))) / factor**2


def _normalised(images: torch.Tensor) -> torch.Tensor:
    """[n, h, w] to [n, h w], each of mean 0 and norm 1; 0 where an image is flat."""
    flat = images.flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    return flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-4)


def difference(
    queries: torch.Tensor, images: torch.Tensor, orientation: torch.Tensor, shift: torch.Tensor
) -> torch.Tensor:
    """What is left of queries when their nearest images, shifted and re-coloured, are taken away.

    Args:
        queries: [N, C, H, W], float32 in [-1, 1].
        images: the nearest of each [N, C, H, W].
        orientation, shift: of `Matches`.

    Returns:
        [N, C, h, w], in [-1, 1], of the turned queries after averaging down; 0 where the two do not overlap.
    """
    rows = []
    for query, image, turned, move in zip(_reduced(queries), _reduced(images), orientation, shift, strict=True):
        query = turn(query, int(turned))
        left = torch.zeros_like(query)
        down, right = move.tolist()
        ours, theirs = overlap(query, image, down, right)
        a, b = (window - window.mean((1, 2), keepdim=True) for window in (ours, theirs))
        gain = (a * b).sum((1, 2), keepdim=True).clamp_min(0) / (b * b).sum((1, 2), keepdim=True).clamp_min(1e-6)
        overlap(left, image, down, right)[0].copy_(a - gain * b)
        rows.append(left.clamp(-1, 1))
    return torch.stack(rows)
