"""A table with one row for each image: labels, groups, parts of a split, masks and attributes, found by their columns."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sadm.core.errors import UserError
from sadm.data.imageset import HELD_OUT
from sadm.data.sources.words import PARTS, composed, is_integer, ordered, part_of, quoted

LABELS = ("label", "class")
_SHOWN = 40  # characters of a cell in a message
_LARGEST = 3.4e38  # that float32 holds


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of a file or a data set, by column.

    Attributes:
        name: of the file or part, for messages.
        columns: the cells of each column, as many as there are rows; None, NaN or "" for an empty one.
        count: of the rows.
        called: what the user would call row i: "row 7", as the editor or the spreadsheet numbers it.
        number: reads one cell as a number; raises ValueError or TypeError.
    """

    name: str
    columns: Mapping[str, Sequence[Any]]
    count: int
    called: Callable[[int], str]
    number: Callable[[Any], float] = float

    def cell(self, column: str, row: int) -> str:
        """Where and what a cell is, for a message: row 7 holds 'n/a'."""
        text = str(self.columns[column][row])
        shown = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
        return f"{self.called(row)} holds '{shown}'"

    def without(self, *columns: str) -> Table:
        """The table without some columns."""
        rest = {name: cells for name, cells in self.columns.items() if name not in columns}
        return dataclasses.replace(self, columns=rest)


@dataclasses.dataclass(frozen=True)
class Knowledge:
    """What a table says of its images, each list in the order of the rows.

    Attributes:
        classes: the class of each; None where the table has no labels.
        groups, parts, masks, attributes: see `Record`; a mask by its path, a number that is not known as NaN.
        remarks: what was decided on the way, for the user.
    """

    classes: list[str] | None
    groups: list[str | None]
    parts: list[str]
    masks: list[str | None]
    attributes: list[dict[str, float]]
    remarks: tuple[str, ...]


def understand(table: Table) -> Knowledge:
    """Finds out what the columns of a table say.

    `label` (or `class`) names classes, `group` what belongs together, `split` the part (see `PARTS`), `mask` (or
    `mask_file_name`) the path of a mask, in capitals or not; every other column of numbers is an attribute, and columns of text
    are left out.

    Raises:
        UserError: a label is missing, a part is unknown, or two columns claim one meaning; with the number of the row.
    """
    remarks: list[str] = []
    label, mask = _one_of(table, LABELS), _one_of(table, ("mask", "mask_file_name"))
    group, split = _one_of(table, ("group",)), _one_of(table, ("split",))
    known = [name for name in (label, mask, group, split) if name is not None]
    empty: list[None] = [None] * table.count
    return Knowledge(
        classes=None if label is None else _classes(table, label, remarks),
        groups=[text(cell) or None for cell in table.columns.get(group or "", empty)],
        parts=[""] * table.count if split is None else _parts(table, split, remarks),
        masks=[text(cell) or None for cell in table.columns.get(mask or "", empty)],
        attributes=_attributes(table.without(*known), remarks),
        remarks=tuple(remarks),
    )


def text(cell: Any) -> str:
    """A cell as a name: composed Unicode, without blanks around; "" for an empty one; 2 for 2.0."""
    if is_empty(cell):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return composed(str(cell).strip())


def is_empty(cell: Any) -> bool:
    """Whether a cell says nothing: None, NaN, or blank text."""
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def json_number(cell: Any) -> float:
    """A number that the source holds as one, unlike text in CSV; raises a TypeError for text."""
    if not isinstance(cell, int | float):
        raise TypeError
    return float(cell)


def columns_named(columns: Iterable[str], words: Sequence[str]) -> list[str]:
    """The columns that are called by one of some words, in capitals or not, in the order of the words."""
    return [column for word in words for column in columns if column.casefold() == word]


def _one_of(table: Table, names: Sequence[str]) -> str | None:
    found = columns_named(table.columns, names)
    if len(found) > 1:
        raise UserError(
            f"{table.name} has the columns {quoted(found)}, which mean the same. Remove or rename one of them."
        )
    return found[0] if found else None


def _classes(table: Table, column: str, remarks: list[str]) -> list[str] | None:
    cells = table.columns[column]
    nested = next((row for row, cell in enumerate(cells) if isinstance(cell, list | dict)), None)
    if nested is not None:
        raise UserError(
            f"{table.name}: {table.cell(column, nested)} as its '{column}'; expected one class for each image."
        )
    names = [text(cell) for cell in cells]
    missing = [row for row, name in enumerate(names) if not name]
    if len(missing) == len(names):
        remarks.append(f"the column '{column}' is empty, so the images have no labels")
        return None
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UserError(
            f"{table.name}: {table.called(missing[0])}{more} has no '{column}', though others have. "
            "Fill it in, remove these rows, or remove the column to train without labels."
        )
    distinct = ordered(names)
    numbers = [name for name in distinct if is_integer(name)]
    if 0 < len(numbers) < len(distinct):
        others = [name for name in distinct if not is_integer(name)]
        remarks.append(
            f"the labels mix integers ({quoted(numbers)}) with names ({quoted(others)}); each is taken as a name of its own"
        )
    return names


def _parts(table: Table, column: str, remarks: list[str]) -> list[str]:
    words = [text(cell) for cell in table.columns[column]]
    parts = [part_of(word) for word in words]
    if None in parts:
        raise UserError(
            f"{table.name}: {table.cell(column, parts.index(None))} as its '{column}'; expected one of {', '.join(PARTS)}, or "
            "nothing."
        )
    held_out = sorted({word for word, part in zip(words, parts, strict=True) if part == HELD_OUT})
    if held_out:
        remarks.append(f"the rows of the split {quoted(held_out)} are held out, never trained on")
        unassigned = parts.count("")
        if unassigned:
            remarks.append(f"rows that name no split ({unassigned}) are trained on")
    return [part or "" for part in parts]


def _attributes(table: Table, remarks: list[str]) -> list[dict[str, float]]:
    attributes: list[dict[str, float]] = [{} for _ in range(table.count)]
    ignored = []
    for name, cells in table.columns.items():
        filled = [(row, cell) for row, cell in enumerate(cells) if not is_empty(cell)]
        row = -1
        try:
            numbers = []
            for row, cell in filled:  # noqa: B007 - the row at which a cell is no number is needed below
                number = table.number(cell)
                if abs(number) > _LARGEST:
                    raise ValueError
                numbers.append(number)
        except (TypeError, ValueError, OverflowError):  # of an integer beyond floats
            ignored.append(f"'{name}' ({table.cell(name, row)})")
            continue
        known = dict(zip((row for row, _ in filled), numbers, strict=True))
        for row in range(table.count if known else 0):
            attributes[row][name] = known.get(row, math.nan)
    if ignored:
        more = f" and {len(ignored) - 5} more" if len(ignored) > 5 else ""
        remarks.append(f"columns that are not all numbers are left out: {', '.join(ignored[:5])}{more}")
    return attributes
