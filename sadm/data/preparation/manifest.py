"""The prepared folder: lists that people and programs read, and that `sadm train --data` takes as a source.

metadata.csv        the usable images: file name, label, group, split, SHA-256, size; may be edited (and is then kept under
                    another name where it would be overwritten)
prepared.json       where the originals are, and what each was like
quarantine.csv      what was left out, and why
near_duplicates.csv pairs of images that look alike
summary.json        counts
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sadm.core.files import sha256_of_file, user_errors_for, write_atomically, write_json
from sadm.data.preparation.duplicates import Pair
from sadm.data.preparation.facts import Facts
from sadm.data.preparation.listing import Place
from sadm.data.preparation.outcomes import USABLE, Finding
from sadm.data.records import Record
from sadm.data.sources.prepared import COLUMNS, FACTS, FORMAT, METADATA, PREPARED

_EDITED = "metadata.edited-{}.csv"
QUARANTINE, NEAR, SUMMARY = "quarantine.csv", "near_duplicates.csv", "summary.json"


def write_metadata(
    folder: Path, records: Sequence[Record], facts: Sequence[Facts], groups: Sequence[str], parts: Sequence[str]
) -> None:
    """Writes the usable images; everything in the order of `records`."""
    rows = (
        [record.name, record.class_name or "", group, part, fact.sha256, fact.width, fact.height]
        for record, fact, group, part in zip(records, facts, groups, parts, strict=True)
    )
    _write_csv(folder / METADATA, [*COLUMNS, *FACTS], rows)


def keep_edited(folder: Path) -> Path | None:
    """Where a table that people have edited since it was written is put, so that it isn't overwritten; None where none was."""
    table = folder / METADATA
    try:
        written = json.loads((folder / PREPARED).read_text("utf-8"))["table"]
        if sha256_of_file(table) == written:
            return None
    except (OSError, ValueError, KeyError, TypeError):  # there is none yet
        return None
    number = next(n for n in itertools.count(1) if not (folder / _EDITED.format(n)).exists())
    kept = folder / _EDITED.format(number)
    with user_errors_for(kept):
        os.replace(table, kept)
    return kept


def write_prepared(
    folder: Path,
    source: str,
    place: Place,
    fingerprint: str | None,
    usable: Sequence[Facts],
    left_out: Sequence[str],
) -> None:
    """Writes where the originals are, and what the table was like.

    Args:
        folder: the prepared folder.
        source: as the user named it.
        place: where it lies.
        fingerprint: of a source of arrays; None where images are files.
        usable: facts of the usable images.
        left_out: names of the others.
    """
    files = {} if fingerprint else {fact.name: [fact.size, fact.modified, fact.sha256] for fact in usable}
    value = {
        "format": FORMAT,
        "source": source,
        "place": None if place.path is None else str(place.path),
        "from_here": None if place.path is None else os.path.relpath(place.path, folder.resolve()),
        "options": place.options,
        "usable": len(usable),
        "table": sha256_of_file(folder / METADATA),
        "fingerprint": fingerprint,
        "files": files,
        "left_out": [] if fingerprint else list(left_out),
    }
    write_json(folder / PREPARED, value)


def write_quarantine(
    folder: Path, records: Sequence[Record], findings: Sequence[Finding], elsewhere: Iterable[tuple[str, str]]
) -> None:
    """Writes what was left out.

    Args:
        folder: the prepared folder.
        records, findings: of all images.
        elsewhere: names and reasons of what the source itself left out.
    """
    rows: list[list[Any]] = [
        [
            record.name,
            record.class_name or "",
            finding.outcome,
            finding.reason,
            "" if finding.twin is None else records[finding.twin].name,
            finding.detail,
        ]
        for record, finding in zip(records, findings, strict=True)
        if finding.outcome != USABLE
    ]
    rows += [[name, "", "not_listed", "", "", reason] for name, reason in elsewhere]
    _write_csv(folder / QUARANTINE, ["file_name", "label", "outcome", "reason", "twin", "detail"], rows)


def write_near(folder: Path, records: Sequence[Record], pairs: Iterable[Pair]) -> None:
    """Writes the near duplicates."""
    rows = (
        [
            records[pair.first].name,
            records[pair.second].name,
            records[pair.first].class_name or "",
            records[pair.second].class_name or "",
            pair.distance,
            pair.difference,
            pair.orientation,
            "yes" if pair.cropped else "",
        ]
        for pair in pairs
    )
    header = ["file_name", "twin", "label", "twin_label", "hash_distance", "difference", "orientation", "cropped"]
    _write_csv(folder / NEAR, header, rows)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, buffer.getvalue().encode("utf-8-sig"))  # the mark tells Excel that it is UTF-8
