"""Words that people use in names of columns and folders, and what they mean here."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from sadm.core.errors import UserError
from sadm.data.imageset import HELD_OUT, TRAIN

PARTS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev", "test", "testing", "eval", "held_out", "holdout"), HELD_OUT),
}
"""The part of a split that each word stands for: everything that is no training is held out."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_MOST_CLASSES = 1_000_000
_SEPARATOR = re.compile(r"[-.0-9]")


def part_of(word: str) -> str | None:
    """The part that a word names: train or held_out, nothing for an empty word; None for a word that names none."""
    word = word.strip().lower().replace("-", "_")
    return PARTS.get(word) if word else ""


def composed(name: str) -> str:
    """The name in Unicode's composed form (NFC), since macOS writes file names decomposed and people type them composed."""
    return unicodedata.normalize("NFC", name)


def is_integer(name: str) -> bool:
    """Whether a class name is an integer in digits."""
    return _INTEGER.fullmatch(name) is not None


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct class names in the order of their indices: by number where all are integers, else by text."""
    distinct = sorted(set(names))
    if all(is_integer(name) for name in distinct):
        distinct.sort(key=int)
    return tuple(distinct)


def quoted(names: Iterable[str], shown: int = 5) -> str:
    """The first few names, for a message: 'a', 'b' and 3 more."""
    listed = list(names)
    more = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(f"'{name}'" for name in listed[:shown]) + more


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def numbered_classes(numbers: Sequence[int], where: str) -> tuple[str, ...]:
    """Names 0, 1, … of classes that a source numbers, up to the highest number, so that index and number agree.

    Args:
        numbers: of the images' classes; at least one.
        where: what holds them, for messages.

    Raises:
        UserError: a number is negative, or too large to count from 0.
    """
    lowest, highest = min(numbers), max(numbers)
    if lowest < 0 or highest >= _MOST_CLASSES:
        wrong = lowest if lowest < 0 else highest
        raise UserError(
            f"{where}: the label {wrong} is no class number; expected integers from 0 to the number of classes less 1, and below "
            f"{_MOST_CLASSES}. Number the classes from 0, or list the images with names of classes in a metadata.csv."
        )
    return tuple(str(number) for number in range(highest + 1))


def parts_of_splits(names: Sequence[str], source: str, one: str) -> dict[str, str]:
    """The part of each split of a data set whose name says one; a single split is divided by us, so it gets none.

    Args:
        names: of the splits.
        source: the data set, for messages.
        one: how the user names the first split alone.

    Raises:
        UserError: there are several splits, and none is for training.
    """
    if len(names) == 1:
        return {names[0]: ""}
    parts = {name: part for name in names if (part := part_of(name))}
    if TRAIN not in parts.values():
        raise UserError(
            f"{source} has the splits {quoted(names)}; expected one of them to be 'train'. Name the one to use, such as {one}."
        )
    return parts


def parts_of_files(paths: Sequence[str]) -> list[str]:
    """The part of each file, by the word that it or its folder starts with; none for any, unless some are for training.

    ``train-00000-of-00002.parquet``, ``val-003.tar`` and ``test/0.tar`` say theirs.
    """
    parts = [_part_of_file(path) for path in paths]
    return parts if TRAIN in parts else [""] * len(parts)


def _part_of_file(path: str) -> str:
    *folders, name = path.split("/")
    for word in (_SEPARATOR.split(name)[0].strip("_"), *folders[-1:]):
        if part := part_of(word):
            return part
    return ""
