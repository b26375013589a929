"""Which of the planted copies are found, and which images are tied to one that is no copy of them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence

import imagehash
import numpy as np
from PIL import Image

from benchmarks.prepare.copies import COPIES, encoded
from benchmarks.prepare.pictures import Pictures
from sadm.data.preparation.duplicates import exact_duplicates, near_duplicates
from sadm.data.preparation.facts import Facts
from sadm.data.preparation.looking import look
from sadm.data.records import Record

EVERY = 10
"""Of so many images, one has a copy."""
BITS = (0, 4, 10)
"""Distances at which imagehash's own comparison is tried: equal hashes, and two limits in use."""

Pairs = set[tuple[int, int]]


def search(pictures: Pictures, kinds: Iterable[str] = COPIES) -> dict[str, Mapping[str, float]]:
    """Plants copies of one kind after another.

    Returns:
        By finder: the share of planted copies found, by kind; and under "false" the share of images without any copy that are
        tied to another image.
    """
    files = [encoded(image) for image in pictures.images]
    facts, hashes = [facts_of(data) for data in files], [hash_of(data) for data in files]
    found: dict[str, dict[str, float]] = {name: {} for name in ("sadm", *map(peer, BITS))}
    for kind in (None, *kinds):
        chosen = range(0, len(files), EVERY) if kind else ()
        copies = [COPIES[kind](pictures.images[i]) for i in chosen] if kind else []
        planted = {(i, len(files) + k) for k, i in enumerate(chosen)}
        pairs = {
            "sadm": ours([*facts, *map(facts_of, copies)], [*pictures.labels, *(pictures.labels[i] for i in chosen)])
        }
        theirs = [*hashes, *map(hash_of, copies)]
        pairs.update({peer(bits): close(theirs, bits) for bits in BITS})
        for name, tied in pairs.items():
            found[name][kind or "false"] = len(tied & planted) / len(planted) if kind else share_of(tied, len(files))
    return found


def peer(bits: int) -> str:
    """What comparing hashes alone is called."""
    return f"imagehash alone, {bits} bits"


def ours(facts: Sequence[Facts], labels: Sequence[str | None]) -> Pairs:
    """Exact duplicates, and near ones among what remains of them, as `sadm prepare` does."""
    clusters = exact_duplicates(facts)
    left_out = {i for cluster in clusters for i in cluster[1:]}
    usable = [i for i in range(len(facts)) if i not in left_out and not facts[i].flat]
    near = near_duplicates([facts[i] for i in usable], labels=[labels[i] for i in usable])
    return {(cluster[0], i) for cluster in clusters for i in cluster[1:]} | {
        (usable[pair.first], usable[pair.second]) for pair in near
    }


def close(hashes: Sequence[int], bits: int) -> Pairs:
    """Pairs whose hashes differ by so many bits at most."""
    values = np.array(hashes, dtype=np.uint64)
    found: Pairs = set()
    for i in range(len(values) - 1):
        near = np.bitwise_count(values[i + 1 :] ^ values[i]) <= bits
        found.update((i, i + 1 + int(j)) for j in np.nonzero(near)[0])
    return found


def share_of(pairs: Pairs, count: int) -> float:
    """Of so many images, those that are in any pair."""
    return len({i for pair in pairs for i in pair}) / count


def facts_of(data: bytes) -> Facts:
    """What a scan finds in an image file."""
    return look(Record("image", lambda: data))


def hash_of(data: bytes) -> int:
    """The perceptual hash of an image file in the usual way."""
    return int(str(imagehash.phash(Image.open(io.BytesIO(data)))), 16)
