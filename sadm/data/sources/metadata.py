"""``metadata.csv`` or ``metadata.jsonl`` beside images, by the convention of Hugging Face's ImageFolder.

One row for each image: ``file_name`` is its path relative to the metadata file; `tables.understand` says what the other
columns mean. Classes come from the column ``label`` alone, never from folders, as in ImageFolder.
"""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sadm.core.errors import UserError
from sadm.core.files import parse_json
from sadm.data.imageset import Note
from sadm.data.records import Listing
from sadm.data.sources.folders import part_folders
from sadm.data.sources.matching import Rows, list_rows
from sadm.data.sources.tables import LABELS, Table, json_number, text
from sadm.data.sources.trees import Tree

FILE = "file_name"
EXTENSIONS = (".csv", ".tsv", ".jsonl")
_NAMES = tuple(f"metadata{extension}" for extension in EXTENSIONS)
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}


def metadata_names(tree: Tree) -> list[str]:
    """The metadata files of a tree: at its top, or else one at the top of each folder named like a part of a split."""
    at_top = [name for name in _NAMES if name in tree.others]
    below = [f"{folder}/{name}" for folder in part_folders(tree) for name in _NAMES]
    return at_top or [name for name in below if name in tree.others]


def list_metadata(tree: Tree, names: list[str] | None = None) -> Listing:
    """Lists the images of a tree as its metadata files name them.

    Args:
        tree: a folder or an archive.
        names: the metadata files; None = `metadata_names`.

    Raises:
        UserError: a metadata file cannot be read, or contradicts itself or the files; with the number of the row.
    """
    names = metadata_names(tree) if names is None else names
    folders = [posixpath.dirname(name) for name in names]
    if len(set(folders)) < len(folders):
        raise UserError(f"{tree.where} holds {' and '.join(names)}; expected one of them. Remove or rename the others.")
    parts = part_folders(tree) if all(folders) else {}
    tables, notes = [], []
    for name, folder in zip(names, folders, strict=True):
        table, remarks = read_table(name, tree.read(name))
        tables.append(Rows(table.without(FILE), table.columns[FILE], folder, parts.get(folder, "")))
        notes += [Note(name, remark) for remark in remarks]
    listing = list_rows(tree, tables)
    listing.notes[:0] = notes
    if listing.class_names is None and any("/" in record.name for record in listing.records):
        remark = f"without a column '{LABELS[0]}' the images have no labels, whatever folders they lie in"
        listing.notes.append(Note(names[0], remark))
    return listing


def read_table(name: str, content: bytes) -> tuple[Table, list[str]]:
    """Reads a metadata file into a table with a column `FILE`, and what is to be said of it.

    CSV may be separated by commas, semicolons or tabs, and is UTF-8 or, as Excel writes it in Japan, CP932 (Shift-JIS).

    Args:
        name: of the file, for messages; its extension decides the format.
        content: its bytes.

    Raises:
        UserError: it cannot be decoded or parsed, lacks the column or has no rows.
    """
    decoded, encoding = _decode(name, content)
    remarks = [f"read as {encoding}"] if encoding != "UTF-8" else []
    table = _parse_jsonl(name, decoded) if name.lower().endswith(".jsonl") else _parse_csv(name, decoded)
    if not table.count:
        raise UserError(f"{name} has no rows; expected one for each image.")
    empty = next((row for row, cell in enumerate(table.columns[FILE]) if not text(cell)), None)
    if empty is not None:
        raise UserError(
            f"{name}: {table.called(empty)} names no file ('{FILE}' is empty). Fill it in, or remove the row."
        )
    return table, remarks


def _decode(name: str, content: bytes) -> tuple[str, str]:
    if content.startswith(_BYTE_ORDER_MARKS):
        attempts = {"utf-16": "UTF-16"}
    else:
        attempts = {"utf-8-sig": "UTF-8", "cp932": "CP932 (Shift-JIS)"}
    for codec, shown in attempts.items():
        try:
            return content.decode(codec), shown
        except UnicodeDecodeError:
            continue
    raise UserError(
        f"{name} is neither UTF-8 nor CP932 (Shift-JIS) text. Save it as UTF-8; in Excel: 'CSV UTF-8 (comma delimited)'."
    )


def _parse_csv(name: str, content: str) -> Table:
    try:
        delimiter = _delimiter(name, content)
        numbered = enumerate(csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True), 1)
        rows = [(number, row) for number, row in numbered if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UserError(f"{name} is no valid CSV: {error}. Save it anew from a spreadsheet.") from error
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    if FILE not in header:  # where quotes reach over lines
        raise _no_header(name, content)
    twice = next((column for i, column in enumerate(header) if column and column in header[:i]), None)
    if twice is not None:
        raise UserError(f"{name} has two columns named '{twice}'. Rename or remove one of them.")
    for number, row in rows[1:]:
        if len(row) != len(header):
            raise UserError(
                f"{name}: row {number} has {len(row)} cells, the header has {len(header)}. Put a cell that contains "
                f"{_DELIMITERS[delimiter]} in double quotes, or complete the row."
            )
    columns = {column: [row[i] for _, row in rows[1:]] for i, column in enumerate(header) if column}
    return Table(name, columns, len(rows) - 1, _rows(rows[1:]), _decimal_comma if delimiter == ";" else float)


def _delimiter(name: str, content: str) -> str:
    first = next((line.rstrip("\r\n") for line in io.StringIO(content, newline="") if line.strip()), "")
    for delimiter in _DELIMITERS:
        if FILE in [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter), [])]:
            return delimiter
    raise _no_header(name, first)


def _no_header(name: str, first: str) -> UserError:
    return UserError(
        f"{name} starts with '{first[:80]}'; expected a first row of column names, separated by commas, semicolons or tabs, "
        f"and among them '{FILE}', the path of each image relative to this file."
    )


def _decimal_comma(cell: str) -> float:
    """A number as spreadsheets of many countries write it, where a semicolon separates the cells."""
    return float(cell.replace(",", "."))


def _parse_jsonl(name: str, content: str) -> Table:
    rows = list(_json_rows(name, content))
    names = dict.fromkeys(column for _, row in rows for column in row)
    columns = {column: [row.get(column) for _, row in rows] for column in names}
    return Table(name, columns, len(rows), _rows(rows), json_number)


def _rows(numbered: Sequence[tuple[int, Any]]) -> Callable[[int], str]:
    return lambda i: f"row {numbered[i][0]}"


def _json_rows(name: str, content: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise UserError(f"{name}: row {number} is no JSON ({error}); expected one object in each line.") from error
        if not isinstance(row, dict) or not isinstance(row.get(FILE), str):
            raise UserError(
                f"{name}: row {number} is '{line[:80]}'; expected an object with a text '{FILE}', the path of an image "
                "relative to this file."
            )
        yield number, row
