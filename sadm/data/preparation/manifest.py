"""The prepared folder: lists that people and programs read, and that `sadm train --data` takes as a source.

metadata.csv        the usable images: file name, label, group, split, SHA-256, size; may be edited
prepared.json       where the originals are, and what each was like
quarantine.csv      what was left out, and why
near_duplicates.csv pairs of images that look alike
summary.json        counts
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sadm.core.files import make_folder, write_atomically, write_json
from sadm.data.preparation.duplicates import Pair
from sadm.data.preparation.facts import Facts
from sadm.data.preparation.outcomes import USABLE, Finding
from sadm.data.records import Record

METADATA, PREPARED, QUARANTINE, NEAR, SUMMARY = (
    "metadata.csv",
    "prepared.json",
    "quarantine.csv",
    "near_duplicates.csv",
    "summary.json",
)
FORMAT = 1


def write_metadata(
    folder: Path, records: Sequence[Record], facts: Sequence[Facts], groups: Sequence[str], parts: Sequence[str]
) -> None:
    """Writes the usable images; everything in the order of `records`."""
    rows = (
        [record.name, record.class_name or "", group, part, fact.sha256, fact.width, fact.height]
        for record, fact, group, part in zip(records, facts, groups, parts, strict=True)
    )
    _write_csv(folder / METADATA, ["file_name", "label", "group", "split", "sha256", "width", "height"], rows)


def write_prepared(
    folder: Path, source: str, place: Path | None, facts: Sequence[Facts], fingerprint: str | None
) -> None:
    """Writes where the originals are.

    Args:
        folder: the prepared folder.
        source: as the user named it.
        place: where it lies; None for a name.
        facts: of the usable images.
        fingerprint: of a source of arrays; None where images are files.
    """
    write_json(
        folder / PREPARED,
        {
            "format": FORMAT,
            "source": source,
            "place": None if place is None else str(place),
            "from_here": None if place is None else os.path.relpath(place, make_folder(folder).resolve()),
            "fingerprint": fingerprint,
            "files": {} if fingerprint else {fact.name: [fact.size, fact.modified, fact.sha256] for fact in facts},
        },
    )


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
