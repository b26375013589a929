"""A prepared folder as a source: the images of another source that `sadm prepare` found usable, never copied.

``metadata.csv`` says which images, with label, group and split; people may edit it, or remove rows. ``prepared.json`` says where
the originals are and what each was like, so that images that have changed since are noticed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from sadm.core.config import Config, build_config
from sadm.core.errors import UserError
from sadm.core.files import read_object
from sadm.data.imageset import ImageSet, Note, Skipped, Split, named_parts
from sadm.data.records import Content, Listing, Record
from sadm.data.sources.metadata import FILE, read_table
from sadm.data.sources.shards import is_pattern
from sadm.data.sources.tables import understand
from sadm.data.sources.words import ordered

METADATA, PREPARED = "metadata.csv", "prepared.json"
FORMAT = 1
COLUMNS = (FILE, "label", "group", "split")
FACTS = ("sha256", "width", "height")
"""Columns of ``metadata.csv`` that people read; this source doesn't."""

_THREADS = 16  # waiting for a network drive
_SHOWN = 5  # names in a message


class _Facts(Config):
    """What ``prepared.json`` says."""

    format: int
    source: str
    place: str | None
    from_here: str | None
    options: str
    usable: int
    table: str
    fingerprint: str | None
    files: dict[str, tuple[int, int, str]]
    left_out: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Rows:
    """What ``metadata.csv`` says, each list in the order of its rows."""

    names: list[str]
    classes: list[str] | None
    groups: list[str | None]
    parts: list[str]
    attributes: list[dict[str, float]]
    notes: list[Note]

    def class_names(self, order: Sequence[str] | None) -> tuple[str, ...]:
        """All classes: those of the source in its order, then others."""
        used = set(self.classes or ())
        known = [name for name in order or () if name in used]
        return (*known, *ordered(used.difference(known)))


def holds_prepared(folder: Path) -> bool:
    """Whether a folder was written by `sadm prepare`."""
    return os.path.isfile(folder / PREPARED)


def holds_prepared_arrays(folder: Path) -> bool:
    """Whether the images that it prepares are arrays, so that there is nothing to list."""
    return holds_prepared(folder) and _read(folder).fingerprint is not None


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
    facts = _read(folder)
    rows = _rows(folder, facts)
    original = _original(folder, facts)
    listing = list_source(original)
    if listing is None:
        raise UserError(f"{original} holds images of another kind than when it was prepared. {_again(folder, facts)}")
    records = {record.name: record for record in listing.records}
    _check_unchanged(folder, facts, rows.names, records)
    known = {*facts.files, *facts.left_out}
    reason = "added since the folder was prepared; run `sadm prepare` again to take it in"
    return Listing(
        source,
        [
            dataclasses.replace(
                records[name],
                class_name=None if rows.classes is None else rows.classes[i],
                group=rows.groups[i],
                part=rows.parts[i],
                attributes={**records[name].attributes, **rows.attributes[i]},
            )
            for i, name in enumerate(rows.names)
        ],
        [Skipped(name, reason) for name in records if name not in known],
        class_names=rows.class_names(listing.class_names) or None,
        notes=[*listing.notes, *rows.notes],
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
    facts = _read(folder)
    rows = _rows(folder, facts)
    original = _original(folder, facts)
    if fingerprint(open_source(original)) != facts.fingerprint:
        raise UserError(f"{original} changed since it was prepared: its pixels differ. {_again(folder, facts)}")
    images = joined(fitted(original))
    place = {name: i for i, name in enumerate(images.names)}
    unknown = [name for name in rows.names if name not in place]
    if unknown:
        raise UserError(f"{folder / METADATA} names '{unknown[0]}', which {original} does not hold. Correct the name.")
    names = rows.class_names(images.class_names)
    number = {name: c for c, name in enumerate(names)}
    return dataclasses.replace(
        images.subset(torch.tensor([place[name] for name in rows.names], dtype=torch.int64)),
        source=source,
        labels=torch.tensor([number[name] for name in rows.classes or ()], dtype=torch.int64) if names else None,
        class_names=names,
        groups=tuple(group or name for group, name in zip(rows.groups, rows.names, strict=True))
        if any(rows.groups)
        else None,
        parts=tuple(rows.parts),
    )


def joined(opened: ImageSet | Split) -> ImageSet:
    """All images of a source in one set."""
    if isinstance(opened, ImageSet):
        return opened
    both = [images for _, images in named_parts(opened)]
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
    parts = "".join(images.fingerprint() for _, images in named_parts(opened))
    return hashlib.sha256(parts.encode("ascii")).hexdigest()


def _read(folder: Path) -> _Facts:
    facts = read_object(folder / PREPARED)
    if facts.get("format") != FORMAT:
        raise UserError(f"{folder / PREPARED} is of another version of sadm. Run `sadm prepare` again.")
    return build_config(_Facts, facts, str(folder / PREPARED))


def _rows(folder: Path, facts: _Facts) -> _Rows:
    if not facts.usable:
        raise UserError(f"{folder} has no usable image; {folder / 'contact_sheet.html'} says why.")
    path = folder / METADATA
    try:
        table, remarks = read_table(str(path), path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing. {_again(folder, facts)}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}. Check its permissions.") from error
    names = [str(name) for name in table.columns[FILE]]
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        if first.setdefault(name, row) != row:
            raise UserError(
                f"{path}: {table.called(row)} names '{name}' again, after {table.called(first[name])}. Remove one of them."
            )
    said = understand(table.without(FILE, *FACTS))
    notes = [Note(str(path), remark) for remark in remarks]
    return _Rows(names, said.classes, said.groups, said.parts, said.attributes, notes)


def _original(folder: Path, facts: _Facts) -> str:
    """Where the originals are now: at their old place, or as far from the prepared folder as they were."""
    _check_ends(folder)
    if facts.place is None:
        return facts.source
    for place in (facts.place, str(folder / (facts.from_here or "."))):
        if os.path.exists(place) or is_pattern(place):
            return place + facts.options
    raise UserError(
        f"{folder} was prepared from {facts.place}, which does not exist (any more). Connect the drive or move the images "
        "back, or run `sadm prepare` on them where they are now."
    )


def _check_ends(folder: Path) -> None:
    """Refuses a prepared folder whose originals lie, maybe over several prepared folders, in itself."""
    seen: set[Path] = set()
    while holds_prepared(folder):
        if folder.resolve() in seen:
            raise UserError(f"{folder} says that it was prepared from itself. Run `sadm prepare` again, on the images.")
        seen.add(folder.resolve())
        folder = Path(_read(folder).place or "")


def _check_unchanged(folder: Path, facts: _Facts, names: Sequence[str], records: Mapping[str, Record]) -> None:
    files = facts.files
    unknown = [name for name in names if name not in files]
    if unknown:
        raise UserError(
            f"{folder / METADATA} names '{unknown[0]}', which was not prepared. Correct the name. {_again(folder, facts)}"
        )

    def change(name: str) -> str:
        record = records.get(name)
        return "gone" if record is None else "" if _is_same(record.content, *files[name]) else "changed"

    with ThreadPoolExecutor(_THREADS) as pool:
        changes = list(pool.map(change, names))
    changed = [f"'{name}' is {what}" for name, what in zip(names, changes, strict=True) if what]
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise UserError(
            f"{facts.source} changed since it was prepared: {', '.join(changed[:_SHOWN])}{more}. {_again(folder, facts)}"
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


def _again(folder: Path, facts: _Facts) -> str:
    return f"Run again: sadm prepare {facts.source} --out {folder}"
