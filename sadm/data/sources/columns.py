"""Data sets with a row for each image and the image in a column: which column is what, and the rows as a listing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sadm.core.errors import UserError
from sadm.core.optional import import_optional
from sadm.data.imageset import Note
from sadm.data.records import Content, Listing, Record, Unreadable
from sadm.data.sources.address import Address
from sadm.data.sources.tables import LABELS, Knowledge, Table, columns_named, json_number, understand
from sadm.data.sources.words import composed, ordered, quoted

_WORDS = ("split", "group")  # columns of text that mean something
_USUAL_IMAGES = ("image", "img")
USUAL_LABELS = ("cls", *LABELS, "labels")
_MASK = "mask"
_NUMBERS = ("int", "uint", "float", "bool")
_ARCHIVES = ("zip", "tar", "gzip", "bz2", "xz", "zstd", "lz4")  # of which `datasets` names members


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the columns of a data set are used for.

    Attributes:
        image: the column of the images.
        mask: the column of the masks, if any.
        label: the column of the labels, if any.
        class_names: what the numbers in the column of the labels stand for; None = they stand for themselves.
        columns: all columns of the table: labels, groups, parts and numbers.
        left_out: columns of text and of other things.
    """

    image: str
    mask: str | None
    label: str | None
    class_names: tuple[str, ...] | None
    columns: tuple[str, ...]
    left_out: tuple[str, ...]

    def table(self, name: str, columns: Mapping[str, Sequence[Any]], count: int) -> Table:
        """The table of one split.

        Args:
            name: of the split.
            columns: the cells of the columns in `columns`.
            count: of the rows.
        """
        cells = {column: columns[column] for column in self.columns}
        if self.label is not None:
            labels = cells.pop(self.label)
            names = self.class_names
            if names is not None:  # -1 is how data sets write "not known" as a number
                labels = [None if label is None or label < 0 else names[label] for label in labels]
            cells[LABELS[0]] = labels
        return Table(name, cells, count, lambda i: f"row {i}", json_number)


@dataclasses.dataclass
class Rows:
    """The rows of one split: the cells of the columns of the plan, and the encoded images and masks, None where there is none."""

    name: str
    part: str
    columns: Mapping[str, Sequence[Any]]
    images: Sequence[Content]
    masks: Sequence[Content | None] | None = None


@dataclasses.dataclass(frozen=True)
class Reach:
    """Where paths in cells may lead: whoever made the data set wrote them, and nothing else of this machine or network is read.

    Attributes:
        folders: and all below them; paths are relative to the first.
        addresses: beginnings of remote paths.
    """

    folders: tuple[Path, ...]
    addresses: tuple[str, ...] = ()

    def holds(self, path: str) -> bool:
        """Whether a path lies within, links followed; a member of an archive where its archive does."""
        *inner, outer = path.split("::")
        if any(part.split("://")[0] not in _ARCHIVES for part in inner):
            return False
        if "://" in outer:
            return outer.startswith(self.addresses) and ".." not in outer.split("/")
        try:
            place = self.local(outer).resolve()
            return any(place.is_relative_to(folder.resolve()) for folder in self.folders)
        except (OSError, ValueError, RuntimeError):  # links in a circle, a NUL
            return False

    def local(self, path: str) -> Path:
        """A path on this machine."""
        return self.folders[0] / path


def plan_columns(features: Mapping[str, Any], address: Address) -> Plan:
    """Decides what each column is for, by its type (`datasets.Features`) and then by its name, in capitals or not.

    The images are the only column of images, or the one named image or img; the labels are the column named cls, label,
    class or labels, or else the only one of type ClassLabel.

    Raises:
        UserError: there is no column of images, or several could be meant; with how to name one.
    """
    image = _image_column(features, address)
    label = _label_column({name: kind for name, kind in features.items() if name != image}, address)
    masks, words = columns_named(features, (_MASK,)), columns_named(features, _WORDS)
    mask = _alone([name for name in masks if _is_image(features[name])], "masks", address)
    others = (image, label, *masks, *columns_named(features, LABELS))
    rest = [name for name in features if name not in others]
    columns = [name for name in rest if _is_number(features[name]) or (name in words and _is_text(features[name]))]
    names = getattr(features[label], "names", None) if label is not None else None
    return Plan(
        image=image,
        mask=mask,
        label=label,
        class_names=None if names is None else tuple(names),
        columns=tuple(columns) if label is None else (label, *columns),
        left_out=tuple(name for name in features if name not in (image, mask, label, *columns)),
    )


def list_splits(address: Address, plan: Plan, splits: Sequence[Rows]) -> Listing:
    """One listing of all rows, in the order of the splits; row i of a split is named ``split/i``.

    Raises:
        UserError: there are no rows, a part is unknown, or a label is missing, with the number of the row, counted from 0.
    """
    if not any(rows.images for rows in splits):
        raise UserError(f"{address.source} has no rows; expected one for each image. Add images.")
    tables = [plan.table(f"{address.source} ({rows.name})", rows.columns, len(rows.images)) for rows in splits]
    knowledge = [understand(table) for table in tables]
    _check_labels_throughout(address, splits, knowledge)
    listing, classes = Listing(address.source), set[str]()
    for rows, known in zip(splits, knowledge, strict=True):
        listing.notes += [Note(rows.name, remark) for remark in known.remarks]
        classes |= set(known.classes or ())
        listing.records += [
            Record(
                f"{rows.name}/{i}",
                content,
                class_name=None if known.classes is None else known.classes[i],
                group=known.groups[i],
                part=known.parts[i] or rows.part,
                attributes=known.attributes[i],
                mask=None if rows.masks is None else rows.masks[i],
            )
            for i, content in enumerate(rows.images)
        ]
    if classes:
        listing.class_names = _class_names(plan, classes, listing)
    if plan.left_out:
        listing.notes.append(Note(address.source, f"columns of no use here are left out: {quoted(plan.left_out)}"))
    return listing


def is_null(cell: Any) -> bool:
    """Whether a cell of a column of images holds nothing: it is null, or has neither bytes nor a path."""
    return cell is None or (isinstance(cell, dict) and cell.get("bytes") is None and not cell.get("path"))


def masks_of(contents: Sequence[Content], empty: Iterable[bool]) -> list[Content | None]:
    """The masks of some rows; none where the cell is empty, as in a table of files."""
    return [None if nothing else content for content, nothing in zip(contents, empty, strict=True)]


def cell_bytes(cell: Any, reach: Reach) -> bytes:
    """The encoded image in a cell: bytes, or a dictionary with `bytes` or else the `path` of a file, maybe a remote one.

    Raises:
        Unreadable: the cell is empty, or its path leads out of the data set.
        OSError: the file cannot be read.
    """
    data, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
    if data is None and isinstance(path, str) and path:
        if not reach.holds(path):
            raise Unreadable(f"the row holds no image but the path '{path}', which leads out of the data set")
        if "://" not in path:
            return reach.local(path).read_bytes()
        fsspec = import_optional("fsspec", "hub", f"reading {path}")
        with fsspec.open(path, "rb") as file:
            data = file.read()
    if not isinstance(data, bytes):
        raise Unreadable("the row holds no image")
    return data


def _image_column(features: Mapping[str, Any], address: Address) -> str:
    if address.image is not None:
        if address.image not in features:
            raise UserError(
                f"{address.source}: there is no column '{address.image}' to take images from; there are {quoted(features, 20)}."
            )
        return address.image
    masks = columns_named(features, (_MASK,))
    found = [name for name, kind in features.items() if name not in masks and _is_image(kind)]
    usual = columns_named(found, _USUAL_IMAGES)
    if len(usual or found) == 1:
        return (usual or found)[0]
    raise UserError(
        f"{address.source}: {'several columns hold' if found else 'no column holds'} images ({quoted(found or features, 20)}). "
        f"Name the column of the images: {address.example('image', found[0] if found else 'NAME')}."
    )


def _label_column(features: Mapping[str, Any], address: Address) -> str | None:
    if address.label is not None:
        if address.label not in features:
            raise UserError(
                f"{address.source}: there is no column '{address.label}' to take labels from; there are {quoted(features, 20)}."
            )
        return address.label
    for word in USUAL_LABELS:
        if usual := _alone(columns_named(features, (word,)), "labels", address):
            return usual
    found = [name for name, kind in features.items() if getattr(kind, "names", None) is not None]
    if len(found) > 1:
        raise UserError(
            f"{address.source}: the columns {quoted(found, 20)} all hold classes. Name the one to learn: "
            f"{address.example('label', found[0])}."
        )
    return found[0] if found else None


def _alone(found: Sequence[str], what: str, address: Address) -> str | None:
    """The one column of some name, if there is any."""
    if len(found) > 1:
        raise UserError(
            f"{address.source}: the columns {quoted(found)} differ in capitals alone, so it is unclear which holds the {what}. "
            "Rename one of them."
        )
    return found[0] if found else None


def _check_labels_throughout(address: Address, splits: Sequence[Rows], knowledge: Sequence[Knowledge]) -> None:
    labelled = [rows.name for rows, known in zip(splits, knowledge, strict=True) if known.classes is not None]
    others = [rows.name for rows in splits if rows.images and rows.name not in labelled]
    if labelled and others:
        raise UserError(
            f"{address.source}: {quoted(labelled)} has labels, {quoted(others)} has none. Give the labelled part alone: "
            f"{address.split(labelled[0])}."
        )


def _class_names(plan: Plan, classes: set[str], listing: Listing) -> tuple[str, ...]:
    """The classes that have rows, in the order of the data set."""
    if plan.class_names is None:
        return ordered(classes)
    absent = [name for name in plan.class_names if composed(name.strip()) not in classes]
    if absent:
        listing.notes.append(Note(listing.source, f"classes without a row are left out: {quoted(absent)}"))
    return tuple(text for name in plan.class_names if (text := composed(name.strip())) in classes)


def _is_image(kind: Any) -> bool:
    if isinstance(kind, Mapping):
        return "bytes" in kind
    return type(kind).__name__ == "Image" or getattr(kind, "dtype", "") in ("binary", "large_binary")


def _is_number(kind: Any) -> bool:
    return type(kind).__name__ == "Value" and kind.dtype.startswith(_NUMBERS)


def _is_text(kind: Any) -> bool:
    return type(kind).__name__ == "Value" and kind.dtype in ("string", "large_string")
