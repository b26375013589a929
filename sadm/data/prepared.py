"""A prepared folder as a source: the images of another source that `sadm prepare` found usable, never copied.

``metadata.csv`` says which images, with label, group and split; people may edit it, or remove rows. ``prepared.json`` says where
the originals are and what each was like, so that images that have changed since are noticed.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.core.files import read_json
from sadm.data.imageset import ImageSet, Skipped, Split
from sadm.data.records import Content, Listing, Record

METADATA, PREPARED = "metadata.csv", "prepared.json"
FORMAT = 1
COLUMNS = ("file_name", "label", "group", "split")

Opener = Callable[[str], ImageSet | Split]

_THREADS = 16  # waiting for a network drive
_SHOWN = 5  # names in a message
_PARTS = ("train", "held_out", "")


@dataclasses.dataclass(frozen=True)
class Row:
    """One image of ``metadata.csv``; empty = none."""

    name: str
    label: str
    group: str
    part: str


def holds_prepared(folder: Path) -> bool:
    """Whether a folder was written by `sadm prepare`."""
    return os.path.isfile(folder / PREPARED)


def holds_prepared_arrays(folder: Path) -> bool:
    """Whether the images that it prepares are arrays, so that there is nothing to list."""
    return holds_prepared(folder) and _read(folder)["fingerprint"] is not None


def list_prepared(folder: Path, source: str, list_source: Callable[[str], Listing | None]) -> Listing:
    """Lists the usable images.

    Args:
        folder: a prepared folder.
        source: as the user named it.
        list_source: lists the originals.

    Returns:
        The originals' records, with labels, groups and parts as ``metadata.csv`` has them. Images that were added to the
        originals since are skipped.

    Raises:
        UserError: the originals are gone or have changed, or the folder is damaged.
    """
    facts, rows = _read(folder), _rows(folder)
    original = _original(folder, facts)
    listing = list_source(original)
    if listing is None:
        raise UserError(f"{original} has changed its kind since it was prepared. {_again(folder, facts)}")
    records = {record.name: record for record in listing.records}
    _check_unchanged(folder, facts, rows, records)
    known = {*facts["files"], *facts["left_out"]}
    added = [name for name in records if name not in known]
    reason = "added since the folder was prepared; run `sadm prepare` again to take it in"
    used = {row.label for row in rows if row.label}
    order = [name for name in listing.class_names or () if name in used]
    return Listing(
        source,
        [
            dataclasses.replace(records[row.name], class_name=row.label or None, group=row.group or None, part=row.part)
            for row in rows
        ],
        [Skipped(name, reason) for name in added],
        class_names=(*order, *sorted(used.difference(order))) or None,
    )


def open_prepared_arrays(
    folder: Path, source: str, open_source: Callable[[str], ImageSet | Split], fitted: Callable[[str], ImageSet | Split]
) -> ImageSet:
    """Opens the usable images of a source of arrays.

    Args:
        folder: a prepared folder.
        source: as the user named it.
        open_source: opens the originals in their own size.
        fitted: opens them as they are wanted.

    Raises:
        UserError: the originals are gone or have changed, or the folder is damaged.
    """
    facts, rows = _read(folder), _rows(folder)
    original = _original(folder, facts)
    if fingerprint(open_source(original)) != facts["fingerprint"]:
        raise UserError(f"{original} changed since it was prepared: its pixels differ. {_again(folder, facts)}")
    images = joined(fitted(original))
    place = {name: i for i, name in enumerate(images.names)}
    unknown = [row.name for row in rows if row.name not in place]
    if unknown:
        raise UserError(f"{folder / METADATA} names '{unknown[0]}', which {original} does not hold. Correct the name.")
    chosen = images.subset(torch.tensor([place[row.name] for row in rows], dtype=torch.int64))
    used = {row.label for row in rows if row.label}
    order = [name for name in images.class_names if name in used]
    names = (*order, *sorted(used.difference(order)))
    number = {name: c for c, name in enumerate(names)}
    return dataclasses.replace(
        chosen,
        source=source,
        labels=torch.tensor([number[row.label] for row in rows], dtype=torch.int64) if names else None,
        class_names=names,
        groups=tuple(row.group or row.name for row in rows) if any(row.group for row in rows) else None,
        parts=tuple(row.part for row in rows),
    )


def joined(opened: ImageSet | Split) -> ImageSet:
    """All images of a source in one set."""
    if isinstance(opened, ImageSet):
        return opened
    both = (opened.train, opened.held_out)
    labels = [part.labels for part in both if part.labels is not None]
    return ImageSet(
        images=torch.cat([part.images for part in both]),
        labels=torch.cat(labels) if len(labels) == len(both) else None,
        class_names=opened.train.class_names,
        names=opened.train.names + opened.held_out.names,
        source=opened.train.source,
    )


def fingerprint(opened: ImageSet | Split) -> str:
    """Of all images of a source."""
    if isinstance(opened, ImageSet):
        return opened.fingerprint()
    parts = opened.train.fingerprint() + opened.held_out.fingerprint()
    return hashlib.sha256(parts.encode("ascii")).hexdigest()


def _read(folder: Path) -> dict[str, Any]:
    facts = read_json(folder / PREPARED)
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise UserError(f"{folder / PREPARED} is of another version of sadm. Run `sadm prepare` again.")
    return facts


def _rows(folder: Path) -> list[Row]:
    path = folder / METADATA
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing. Run `sadm prepare` again.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8. Save it from the spreadsheet as 'CSV UTF-8'.") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}. Check its permissions.") from error
    table = csv.DictReader(io.StringIO(text, newline=""))
    missing = [column for column in COLUMNS if column not in (table.fieldnames or ())]
    if missing:
        raise UserError(
            f"{path} lacks the column '{missing[0]}'; expected {', '.join(COLUMNS)}. Run `sadm prepare` again."
        )
    rows = [Row(*((line[column] or "").strip() for column in COLUMNS)) for line in table]
    _check_rows(path, rows)
    return rows


def _check_rows(path: Path, rows: Sequence[Row]) -> None:
    if not rows:
        raise UserError(
            f"{path} has no rows: no image was found usable. {path.parent / 'contact_sheet.html'} says why."
        )
    seen: set[str] = set()
    for number, row in enumerate(rows, 2):
        if row.name in seen:
            raise UserError(f"{path}: row {number} names '{row.name}' a second time. Remove one of them.")
        if row.part not in _PARTS:
            raise UserError(
                f"{path}: row {number} has the split '{row.part}'; expected 'train', 'held_out' or nothing."
            )
        seen.add(row.name)
    unlabelled = next((row.name for row in rows if not row.label), None)
    if unlabelled is not None and any(row.label for row in rows):
        raise UserError(f"{path}: '{unlabelled}' has no label, other images have. Give it one, or remove its row.")


def _original(folder: Path, facts: Mapping[str, Any]) -> str:
    """Where the originals are now: at their old place, or as far from the prepared folder as they were."""
    if facts["place"] is None:
        return str(facts["source"])
    for place in (Path(facts["place"]), folder / facts["from_here"]):
        if os.path.exists(place):
            return str(place)
    raise UserError(
        f"{folder} was prepared from {facts['place']}, which does not exist (any more). Connect the drive or move the images "
        "back, or run `sadm prepare` on them where they are now."
    )


def _check_unchanged(
    folder: Path, facts: Mapping[str, Any], rows: Sequence[Row], records: Mapping[str, Record]
) -> None:
    files = facts["files"]
    unknown = [row.name for row in rows if row.name not in files]
    if unknown:
        raise UserError(
            f"{folder / METADATA} names '{unknown[0]}', which was not prepared. Correct the name. {_again(folder, facts)}"
        )

    def change(row: Row) -> str:
        record = records.get(row.name)
        return "gone" if record is None else "" if _is_same(record.content, *files[row.name]) else "changed"

    with ThreadPoolExecutor(_THREADS) as pool:
        changes = list(pool.map(change, rows))
    changed = [f"'{row.name}' is {what}" for row, what in zip(rows, changes, strict=True) if what]
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise UserError(
            f"{facts['source']} changed since it was prepared: {', '.join(changed[:_SHOWN])}{more}. {_again(folder, facts)}"
        )


def _is_same(content: Content, size: int, modified: int, sha256: str) -> bool:
    """Whether content is what it was: a file by its size and time, or else by its bytes."""
    try:
        if not isinstance(content, Path):
            return hashlib.sha256(content()).hexdigest() == sha256
        status = os.stat(content)
        if status.st_size != size:
            return False
        return status.st_mtime_ns == modified or hashlib.sha256(content.read_bytes()).hexdigest() == sha256
    except OSError:
        return False


def _again(folder: Path, facts: Mapping[str, Any]) -> str:
    return f"Run again: sadm prepare {facts['source']} --out {folder}"
