"""Rows that name files, and files that rows name: brought together, and what is left over on either side said."""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Sequence
from typing import Any

from sadm.core.errors import UserError
from sadm.data.imageset import Note, Skipped
from sadm.data.records import Content, Listing, Record, examples
from sadm.data.sources.tables import Knowledge, Table, understand
from sadm.data.sources.trees import Tree
from sadm.data.sources.words import composed, ordered

_DRIVE = re.compile(r"[A-Za-z]:")


@dataclasses.dataclass(frozen=True)
class Rows:
    """What is known of some files of a tree.

    Attributes:
        table: a row for each file.
        files: the path of each file, relative to `folder`.
        folder: of the tree, in which the table lies; "" for its top.
        part: of a split, where the table does not say.
    """

    table: Table
    files: Sequence[Any]
    folder: str = ""
    part: str = ""


def list_rows(tree: Tree, tables: Sequence[Rows]) -> Listing:
    """Lists the images that the rows of some tables name, by name; names are compared in composed Unicode (NFC).

    A row whose image or mask does not exist, and an image that no row names, are among the skipped.

    Raises:
        UserError: a path leaves the tree, two rows name one image, none names one that is there, or some tables have labels
            and others none.
    """
    finder, listing = _Finder(tree), Listing(tree.source, skipped=list(tree.skipped))
    knowledge = [understand(rows.table) for rows in tables]
    called: dict[str, str] = {}
    for rows, known in zip(tables, knowledge, strict=True):
        listing.notes += [Note(rows.table.name, remark) for remark in known.remarks]
        _match(rows, known, finder, called, listing)
    if not listing.records:
        count = sum(len(rows.files) for rows in tables)
        raise UserError(
            f"{tree.where}: none of the {count} rows of {tables[0].table.name} names an image that is there: "
            f"{examples(listing.skipped)}. Paths are relative to the folder of {posixpath.basename(tables[0].table.name)}."
        )
    listing.class_names = _class_names(tree, knowledge, listing)
    listing.records.sort(key=lambda record: (composed(record.name), record.name))
    claimed = finder.used | {skip.path for skip in listing.skipped}
    loose = [name for name in tree.sorted_images() if name not in claimed]
    listing.skipped += [Skipped(name, f"no row of {tables[0].table.name} names it") for name in loose]
    return listing


def _match(rows: Rows, known: Knowledge, finder: _Finder, called: dict[str, str], listing: Listing) -> None:
    """Adds the records of one table; `called` remembers which row named each image."""
    for i, file in enumerate(rows.files):
        try:
            name = finder.find(str(file), rows, i)
            mask = known.masks[i] and finder.find(known.masks[i] or "", rows, i)
        except FileNotFoundError as missing:
            listing.skipped.append(Skipped(posixpath.join(rows.folder, str(file)), str(missing)))
            continue
        row = f"{rows.table.called(i)} of {rows.table.name}"
        if name in called:
            raise UserError(f"{listing.source}: {called[name]} and {row} both name '{name}'. Remove one of them.")
        called[name] = row
        record = Record(
            name,
            finder.contents[name],
            class_name=None if known.classes is None else known.classes[i],
            group=known.groups[i],
            part=known.parts[i] or rows.part,
            attributes=known.attributes[i],
            mask=None if mask is None else finder.contents[mask],
        )
        listing.records.append(record)


def _class_names(tree: Tree, knowledge: Sequence[Knowledge], listing: Listing) -> tuple[str, ...] | None:
    labelled = [known.classes for known in knowledge if known.classes is not None]
    if labelled and len(labelled) < len(knowledge):
        raise UserError(
            f"{tree.where}: some of its metadata files have labels, others have none. Add a column 'label' to each or to none."
        )
    names = ordered(name for classes in labelled for name in classes)
    lost = set(names) - {record.class_name for record in listing.records}
    if lost:
        raise UserError(
            f"{tree.where}: no image of the class '{min(lost)}' is there: {examples(listing.skipped)}. Bring its images back, or "
            "remove its rows to leave the class out."
        )
    return names or None


class _Finder:
    """Finds the files of a tree by what a row calls them, and remembers which were asked for."""

    def __init__(self, tree: Tree) -> None:
        self.contents: dict[str, Content] = {**tree.others, **tree.images}
        self.used: set[str] = set()
        self._composed = {composed(name): name for name in self.contents}
        self._folded = {name.casefold(): name for name in self._composed}

    def find(self, path: str, rows: Rows, row: int) -> str:
        """The name within the tree of the file at `path`, as row `row` gives it.

        Raises:
            UserError: the path leaves the tree.
            FileNotFoundError: there is no such file; the message is the reason, for people.
        """
        full = posixpath.join(rows.folder, path)
        if full not in self.contents:
            full = self._from_metadata(path.strip().replace("\\", "/"), rows, row)
        self.used.add(full)
        return full

    def _from_metadata(self, path: str, rows: Rows, row: int) -> str:
        full = composed(posixpath.normpath(posixpath.join(rows.folder, path)))
        if path.startswith("/") or _DRIVE.match(path) or full.split("/")[0] == "..":
            raise UserError(
                f"{rows.table.name}: {rows.table.called(row)} names '{path}', which may lie elsewhere; expected a path relative "
                f"to {posixpath.basename(rows.table.name)}, below its folder. Move the file there and correct the row."
            )
        if full in self._composed:
            return self._composed[full]
        similar = self._folded.get(full.casefold())
        hint = "" if similar is None else f"; there is '{similar}', and capitals count"
        raise FileNotFoundError(
            f"{rows.table.called(row)} of {rows.table.name} names '{path}', but there is no such file{hint}"
        )
