"""Exact and near duplicates: candidates by perceptual hash, each confirmed by its pixels.

Photographs of parts on one machine look alike, and their perceptual hashes are often equal. What tells a copy from another part
is how *little* differs, by the standard of its surroundings: two images are near duplicates where the difference between their
fingerprints is below a twelfth of the difference between either of them and its sixth nearest image (see `Surroundings`).
Not the median image: where a folder holds several kinds of parts, all of one kind would be copies by that standard. In a class
of few images the standard is no more than the farthest of these, or all of a rare kind would be copies. A copy that was cropped
is first brought into register with its original.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.fft
import torch

from sadm.data.preparation.alignment import difference_in_register
from sadm.data.preparation.clusters import Clusters
from sadm.data.preparation.facts import GREY, Facts, thumbs, tints
from sadm.data.preparation.surroundings import SmallClasses, Surroundings

DISTANCE = 12  # bits of 64 by which the hashes of candidates may differ
_TURNED_DISTANCE = 8  # the same for mirrored and turned copies
_SHARE = 1 / 12  # of the surroundings' difference: less is a copy
_ALWAYS = 1e-4  # a smaller difference is that of a copy whatever the surroundings
_TURNED = 0.5  # both are that much stricter for mirrored and turned copies: seven kinds of them to be mistaken for
_MOST = 0.05  # a larger difference is never a copy, however varied the set
_ROUNDS = 50
_TINT = 12.0  # root mean square of levels in Cb and Cr: more is another colour
_COARSE = 8  # side of the fingerprint that weeds out candidates
_CROPPED_MOST = 0.35  # difference that a cropped copy stays below before it is in register
_REGISTERS = 0.15  # where the surroundings differ by less, no register is exact enough to tell a copy
_LARGE = 64  # pixels on the smaller side, below which there is no register to find
_TRIES = 2  # candidates of each image that are brought into register, the nearest
_ROWS = 256  # of the matrix of hashes at a time
_PAIRS = 8192  # compared at a time
_LOW = 8  # side of the low frequencies that make a hash, as in imagehash.phash

ORIENTATIONS = ("same", "mirrored", "upside_down", "turned_180", "transposed", "turned_90", "turned_270", "transverse")


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two images that are near duplicates.

    Attributes:
        first, second: positions, first < second.
        distance: bits by which their perceptual hashes differ, in this orientation.
        difference: one minus the correlation of their fingerprints; 0 = the same but for brightness and contrast.
        orientation: how the second must be turned to look like the first, one of `ORIENTATIONS`; angles are clockwise.
        cropped: one shows a part of the other.
    """

    first: int
    second: int
    distance: int
    difference: float
    orientation: str = "same"
    cropped: bool = False

    @property
    def both(self) -> tuple[int, int]:
        """The two positions."""
        return self.first, self.second


def exact_duplicates(facts: Sequence[Facts]) -> list[list[int]]:
    """Positions of images with the same pixels, in whatever format; clusters of two or more, in order."""
    clusters: dict[str, list[int]] = {}
    for i, fact in enumerate(facts):
        if not fact.problem:
            clusters.setdefault(fact.pixels, []).append(i)
    return [members for members in clusters.values() if len(members) > 1]


def near_duplicates(
    facts: Sequence[Facts], distance: int = DISTANCE, labels: Sequence[str | None] = (), seed: int = 0
) -> list[Pair]:
    """Finds pairs that are copies of each other: resized, compressed anew, of another brightness or contrast, grey, turned,
    mirrored, slightly cropped.

    Args:
        facts: of images that are no exact duplicates, and not flat.
        distance: bits of 64 by which the hashes of candidates may differ.
        labels: the class of each image, where there are any: what tells copies apart in a class of few images.
        seed: see `Surroundings`.

    Returns:
        Pairs in order of their positions, each once.
    """
    if len(facts) < 2:
        return []
    search = _Search(facts, distance, labels, seed)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        blocks = [(o, start) for o in range(len(ORIENTATIONS)) for start in range(0, len(facts), _ROWS)]
        results = list(pool.map(lambda block: search.block(*block), blocks))
    copies, rest = search.confirm(np.concatenate([close for close, _ in results], axis=1))
    cropped = search.in_register(np.concatenate([rest, *(far for _, far in results)], axis=1))
    found: dict[tuple[int, int], Pair] = {}
    for pair in (*copies, *cropped):
        found.setdefault(
            pair.both, pair
        )  # a symmetric image fits in several orientations; the first is least surprising
    return [found[key] for key in sorted(found)]


def turn(images: np.ndarray, orientation: int) -> np.ndarray:
    """Images [..., S, S] in one of `ORIENTATIONS`, by its index."""
    if orientation & 4:
        images = images.swapaxes(-1, -2)
    if orientation & 1:
        images = images[..., ::-1]
    if orientation & 2:
        images = images[..., ::-1, :]
    return images


def turned_hashes(levels: np.ndarray) -> np.ndarray:
    """imagehash.phash of images in all orientations, from one transform: turning flips signs of its coefficients.

    Args:
        levels: [N, 32, 32], of any scale.

    Returns:
        [N, 8], uint64.
    """
    low = scipy.fft.dctn(levels.astype(np.float64), axes=(1, 2))[:, :_LOW, :_LOW]
    odd = (-1.0) ** np.arange(_LOW)
    hashes = []
    for o in range(len(ORIENTATIONS)):
        turned = low.swapaxes(1, 2) if o & 4 else low
        turned = turned * (odd if o & 1 else 1) * (odd[:, None] if o & 2 else 1)
        bits = turned > np.median(turned, axis=(1, 2), keepdims=True)
        hashes.append(np.packbits(bits.reshape(len(bits), -1), axis=1).view(">u8")[:, 0].astype(np.uint64))
    return np.stack(hashes, axis=1)


class _Search:
    """What the comparison of any two images needs. Candidates are columns (first, second, distance, orientation, difference)."""

    def __init__(self, facts: Sequence[Facts], distance: int, labels: Sequence[str | None], seed: int) -> None:
        self.distance = distance
        self.fingerprints, self.tints = thumbs(facts), tints(facts)  # [N, 32, 32], [N, 2, 8, 8]
        self.hashes = turned_hashes(self.fingerprints)
        self.hashes[:, 0] = [int(fact.phash, 16) for fact in facts]
        self.large = np.array([fact.smaller_side >= _LARGE for fact in facts])
        self.grey = np.abs(self.tints).max(axis=(1, 2, 3)) <= GREY
        self.coarse = _averaged(self.fingerprints)  # [N, 8, 8]
        self.surroundings = Surroundings(self.fingerprints, seed)
        self.small_classes = SmallClasses(self.fingerprints, labels)
        self.clusters = Clusters(len(facts))
        self.around = self.surroundings.widest

    def block(self, orientation: int, start: int) -> tuple[np.ndarray, np.ndarray]:
        """Compares some images with all after them.

        Args:
            orientation: of those after them, index of `ORIENTATIONS`.
            start: the first of the `_ROWS` images.

        Returns:
            Candidates [5, M]: those that may be copies as they are, and those that may be cropped copies.
        """
        most = self.distance if orientation == 0 else min(self.distance, _TURNED_DISTANCE)
        bits = np.bitwise_count(self.hashes[start : start + _ROWS, None, 0] ^ self.hashes[None, start:, orientation])
        rows, columns = np.nonzero(bits <= most)
        after = columns > rows
        rows, columns = rows[after], columns[after]
        candidates = np.stack([rows + start, columns + start, bits[rows, columns]])
        parts = range(0, max(candidates.shape[1], 1), _PAIRS)
        found = [self._compare(candidates[:, at : at + _PAIRS], orientation) for at in parts]
        close, far = (np.concatenate(side, axis=1) for side in zip(*found, strict=True))
        return close, _nearest(far)

    def _compare(self, candidates: np.ndarray, orientation: int) -> tuple[np.ndarray, np.ndarray]:
        """The differences of candidates [3, M] that are worth it, divided as in `block`."""
        kept = candidates[:, self._same_colour(candidates, orientation)]
        coarsely = _differences(self.coarse, kept, orientation)
        kept = kept[:, coarsely <= _CROPPED_MOST]
        differences = _differences(self.fingerprints, kept, orientation)
        kept = np.stack([*kept, np.full(kept.shape[1], orientation), differences])
        close = differences <= self._allowed(kept)
        far = ~close & (orientation == 0) & (differences <= _CROPPED_MOST) & self._registers(kept)
        return kept[:, close], kept[:, far]

    def _same_colour(self, candidates: np.ndarray, orientation: int) -> np.ndarray:
        first, second = candidates[:2]
        gaps = self.tints[first] - turn(self.tints[second], orientation)
        alike = (gaps**2).mean(axis=(1, 2, 3)) <= _TINT**2
        return np.asarray(alike | self.grey[first] | self.grey[second])

    def _allowed(self, candidates: np.ndarray) -> np.ndarray:
        """The largest difference of a copy, for each candidate."""
        around = self.around[candidates[:2].astype(np.int64)].min(axis=0)
        strict = np.where(candidates[3] > 0, _TURNED, 1.0)
        return np.minimum(np.maximum(_SHARE * around, _ALWAYS) * strict, _MOST)

    def _registers(self, candidates: np.ndarray) -> np.ndarray:
        """Whether a register could be exact enough to tell a copy from others, for each candidate."""
        both = candidates[:2].astype(np.int64)
        return np.asarray((self.around[both] >= _REGISTERS).all(axis=0) & self.large[both].all(axis=0))

    def confirm(self, candidates: np.ndarray) -> tuple[list[Pair], np.ndarray]:
        """The copies among candidates [5, M], and the candidates of the same orientation that may still be cropped copies.

        Copies of one image are each other's nearest neighbours, and many of them would hide that the next image is far away:
        those that are known to be copies count as one, until no more are found.
        """
        known = -1
        self.around = np.zeros(len(self.fingerprints))
        for _ in range(_ROUNDS):
            copies = candidates[4] <= self._allowed(candidates)
            if copies.sum() == known:
                break
            known = copies.sum()
            for i, j in candidates[:2, copies].T.astype(np.int64):
                self.clusters.join((i, j))
            cluster = np.array(self.clusters.roots())
            self.around = self.small_classes.bound(self.surroundings.differing(cluster), cluster)
        return _pairs(candidates[:, copies]), candidates[:, ~copies & (candidates[3] == 0)]

    def in_register(self, candidates: np.ndarray) -> list[Pair]:
        """The copies among candidates [5, M] once one image is scaled and shifted onto the other."""
        candidates = _nearest(candidates[:, self._registers(candidates)])
        first, second = (torch.from_numpy(self.fingerprints[side]) for side in candidates[:2].astype(np.int64))
        candidates[4] = difference_in_register(first, second).numpy()
        return _pairs(candidates[:, candidates[4] <= self._allowed(candidates)], cropped=True)


def _pairs(candidates: np.ndarray, cropped: bool = False) -> list[Pair]:
    return [
        Pair(int(i), int(j), int(bits), round(max(e, 0.0), 5), ORIENTATIONS[int(orientation)], cropped)
        for i, j, bits, orientation, e in candidates.T.tolist()
    ]


def _averaged(fingerprints: np.ndarray) -> np.ndarray:
    """[N, 32, 32] to [N, 8, 8], each with mean 0 and norm 1."""
    count, side, _ = fingerprints.shape
    step = side // _COARSE
    coarse = fingerprints.reshape(count, _COARSE, step, _COARSE, step).mean(axis=(2, 4))
    coarse -= coarse.mean(axis=(1, 2), keepdims=True)
    return coarse / np.maximum(np.sqrt((coarse**2).sum(axis=(1, 2), keepdims=True)), 1e-6)


def _differences(images: np.ndarray, candidates: np.ndarray, orientation: int) -> np.ndarray:
    first, second = candidates[:2]
    return 1 - np.einsum("nij,nij->n", images[first], turn(images[second], orientation))


def _nearest(candidates: np.ndarray) -> np.ndarray:
    """Of candidates [5, M], the nearest few of each first image."""
    candidates = candidates[:, np.lexsort((candidates[4], candidates[0]))]
    _, starts, counts = np.unique(candidates[0], return_index=True, return_counts=True)
    rank = np.arange(candidates.shape[1]) - np.repeat(starts, counts)
    return candidates[:, rank < _TRIES]
