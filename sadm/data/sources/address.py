"""`Address`: a source as the user typed it, taken apart: a path or a name of the hub, and options behind a question mark."""

from __future__ import annotations

import dataclasses
import os
import urllib.parse
from pathlib import Path

from sadm.core.errors import UserError
from sadm.data.sources.words import quoted

HUB = "hub:"
_OPTIONS = ("rows", "image", "label")


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a source is, and what of it is meant.

    Attributes:
        source: as the user typed it.
        place: the path, or what follows ``hub:``, without options.
        hub: whether it is a data set of Hugging Face's hub.
        rows: read the first rows of each split alone; None = all.
        image: column, or extension within shards, of the images; None = the only one.
        label: column of the labels; None = the one named so.
    """

    source: str
    place: str
    hub: bool = False
    rows: int | None = None
    image: str | None = None
    label: str | None = None

    @property
    def path(self) -> Path:
        """The place as a path."""
        return Path(self.place)

    @property
    def has_options(self) -> bool:
        """Whether any option was given."""
        return any(getattr(self, name) is not None for name in _OPTIONS)

    def example(self, option: str, value: str) -> str:
        """What the user might type to add an option."""
        return f"{self.source}{'&' if self.has_options else '?'}{option}={value}"

    def split(self, name: str) -> str:
        """What the user might type to get one split alone."""
        return f"{HUB}{self.place.partition('@')[0]}@{name}" if self.hub else f"{self.place}/{name}"


def parse_address(source: str) -> Address:
    """Takes a source apart: ``PATH``, ``PATH?rows=5000&image=photo&label=species``, or the same with ``hub:NAME``.

    A question mark that belongs to an existing path stays part of it.

    Raises:
        UserError: an option is unknown or has no value that makes sense.
    """
    hub = source.startswith(HUB)
    place = source[len(HUB) :] if hub else os.path.expanduser(source)
    if "?" not in place or (not hub and os.path.exists(place)):
        return Address(source, place, hub)
    place, _, query = place.partition("?")
    options = dict(urllib.parse.parse_qsl(query.replace("+", "%2B"), keep_blank_values=True))
    unknown = [name for name, value in options.items() if name not in _OPTIONS or not value]
    if unknown or not options:
        raise UserError(
            f"'{source}': after the question mark stands {quoted(unknown) or 'nothing'}; expected {', '.join(_OPTIONS)}, each "
            "with a value, such as ?rows=5000&label=species."
        )
    rows = options.get("rows")
    if rows is not None and not (rows.isascii() and rows.isdigit() and int(rows) > 0):
        raise UserError(f"'{source}': rows is '{rows}'; expected a positive number of rows, such as ?rows=5000.")
    return Address(source, place, hub, None if rows is None else int(rows), options.get("image"), options.get("label"))


class RowsLeft:
    """How many rows may still be read of each part, where an address asks for the first rows alone."""

    def __init__(self, address: Address) -> None:
        self._rows = address.rows
        self._taken: dict[str, int] = {}

    def of(self, part: str) -> int | None:
        """Of one part; None = all."""
        return None if self._rows is None else self._rows - self._taken.get(part, 0)

    def take(self, part: str, count: int) -> None:
        """Counts rows that were read."""
        self._taken[part] = self._taken.get(part, 0) + count
