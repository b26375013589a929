"""What images say of themselves: which carry a mark, whose, and whether their pixels are still those that were marked."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from sadm.core.errors import UserError
from sadm.core.marking import Mark, read_marked

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
"""Of the files that are looked for in folders."""

Verdict = Literal["marked", "changed", "other model", "unmarked", "damaged"]
FAILING: tuple[Verdict, ...] = ("other model", "unmarked", "damaged")


@dataclasses.dataclass(frozen=True)
class Verified:
    """One file.

    Attributes:
        path: of the file.
        verdict: marked = with a mark, and the pixels that were marked; changed = with a mark, and other pixels: re-compressed,
            resized or painted over; other model = marked by another model than was asked for; unmarked = an image without a
            mark; damaged = no image, or its mark makes no sense.
        mark: what it says.
        reason: of a damaged file.
    """

    path: str
    verdict: Verdict
    mark: Mark | None = None
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "mark": None if self.mark is None else self.mark.as_dict()}


def verify(path: str | Path, model: str | None = None) -> Verified:
    """Looks into one file of whatever origin.

    Args:
        path: of an image.
        model: the hash that its mark should name; None = any.
    """
    try:
        mark, same = read_marked(path)
    except UserError as error:
        return Verified(str(path), "damaged", reason=str(error))
    if mark is None:
        return Verified(str(path), "unmarked")
    if model is not None and mark.model != model:
        return Verified(str(path), "other model", mark)
    return Verified(str(path), "marked" if same else "changed", mark)


def images_in(places: Iterable[str | Path]) -> list[Path]:
    """The files that are named, and the images in the folders that are, by their suffixes, in the order of their names.

    Raises:
        UserError: a place does not exist, or a folder holds no image.
    """
    found: list[Path] = []
    for place in map(Path, places):
        if not place.is_dir():
            if not place.exists():
                raise UserError(f"{place} does not exist.")
            found.append(place)
            continue
        inside = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        if not inside:
            raise UserError(f"{place} holds no image ({', '.join(sorted(SUFFIXES))}).")
        found += inside
    return found


def verify_all(
    places: Iterable[str | Path],
    model: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Verified]:
    """Looks into files and folders.

    Args:
        places: files and folders.
        model: see `verify`.
        progress: called with (files done, files in all).

    Raises:
        UserError: as `images_in`.
    """
    paths, found = images_in(places), []
    for number, path in enumerate(paths, 1):
        found.append(verify(path, model))
        progress(number, len(paths))
    return found


def counts(found: Iterable[Verified]) -> dict[Verdict, int]:
    """How many files of each verdict, the frequent ones first."""
    return dict(Counter(one.verdict for one in found).most_common())
