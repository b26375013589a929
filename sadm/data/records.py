"""`Record`: one image of a source before it is decoded; `Listing`: all that a source holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sadm.data.imageset import Note, Skipped

Content = Path | Callable[[], bytes]
"""An encoded image: its file, or what reads its bytes from a container (from several threads at once)."""

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

_SHOWN = 5  # examples in a message


class Unreadable(Exception):  # noqa: N818 - a verdict on one record, not a fault of the program
    """A record that yields no image; the message is the reason, for people."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One image of a source, before it is decoded.

    Attributes:
        name: its id within the source: a relative path with slashes, in valid Unicode; page n > 1 of a file ends in
            ``#page=n``.
        content: where its encoded pixels are.
        class_name: its class; None in a source without classes.
        group: images of one group belong on one side of a split; None = the image is a group of its own.
        part: "train" or "held_out" where the source assigns it, else "".
        attributes: numbers known of it, by name.
        mask: an image of the same size that marks something in it, white on black.
        page: which of the images within `content`, from 0.
    """

    name: str
    content: Content
    class_name: str | None = None
    group: str | None = None
    part: str = ""
    attributes: Mapping[str, float] = dataclasses.field(default_factory=dict)
    mask: Content | None = None
    page: int = 0


@dataclasses.dataclass
class Listing:
    """What a source holds, before anything is decoded.

    Attributes:
        source: as the user named it.
        records: in the order of the future image set.
        skipped: what is known to be unusable without decoding it.
        class_names: all classes in the order of their indices; None = those of the records, sorted.
        notes: what the source was taken to mean, where people might think otherwise.
        others: how many files are no images by their names, by extension.
    """

    source: str
    records: list[Record] = dataclasses.field(default_factory=list)
    skipped: list[Skipped] = dataclasses.field(default_factory=list)
    class_names: tuple[str, ...] | None = None
    notes: list[Note] = dataclasses.field(default_factory=list)
    others: Mapping[str, int] = dataclasses.field(default_factory=dict)


def readable_name(name: str) -> str:
    """A file name as valid Unicode, different for different names: names need not be Unicode, reports and JSON must."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def examples(skipped: Sequence[Skipped]) -> str:
    """The first few files that were left out, with reasons, for a message."""
    shown = "; ".join(f"'{skip.path}': {skip.reason}" for skip in skipped[:_SHOWN])
    return shown + (f"; and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else "")


def image_files(count: int) -> str:
    """Such as "1 image file", for a message."""
    return f"{count} image file{'s' if count != 1 else ''}"
