"""What becomes of each image: usable, a duplicate that is left out, or put in quarantine for a reason."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from sadm.data.imageset import HELD_OUT
from sadm.data.preparation.facts import PROBLEMS, Facts
from sadm.data.records import Record

USABLE, DUPLICATE, QUARANTINED = "usable", "duplicate", "quarantined"
REASONS = (*PROBLEMS, "blank", "wrong_label", "too_small")
"""Why an image is in quarantine."""

_COPY_MARKS = re.compile(r"copy|コピー|\(\d+\)|（\d+）", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Finding:
    """What becomes of one image.

    Attributes:
        outcome: USABLE, DUPLICATE or QUARANTINED.
        reason: one of `REASONS` for an image in quarantine.
        detail: the particulars, in words.
        twin: position of the image that it repeats or contradicts.
    """

    outcome: str
    reason: str = ""
    detail: str = ""
    twin: int | None = None


def judge(
    records: Sequence[Record], facts: Sequence[Facts], duplicates: Sequence[Sequence[int]], resolution: int
) -> list[Finding]:
    """Finds out what becomes of each image, by the first of these that applies:

    it cannot be read; nothing can be seen in it; the same pixels carry another label, so that neither label can be trusted; the
    same pixels are kept under another name; its smaller side is below the resolution.

    Args:
        records, facts: of the images, in one order.
        duplicates: clusters of exact duplicates.
        resolution: side in pixels.
    """
    findings = [_alone(fact, resolution) for fact in facts]
    for cluster in duplicates:
        if findings[cluster[0]].reason == "blank":
            continue
        if len({records[i].class_name for i in cluster}) > 1:
            for i in cluster:
                twin = next(j for j in cluster if records[j].class_name != records[i].class_name)
                detail = f"'{records[twin].name}' has the same pixels and the label '{records[twin].class_name}'"
                findings[i] = Finding(QUARANTINED, "wrong_label", detail, twin)
            continue
        kept = min(cluster, key=lambda i: _preference(records[i]))
        for i in cluster:
            if i != kept:
                findings[i] = Finding(DUPLICATE, detail=f"the same pixels as '{records[kept].name}'", twin=kept)
    return findings


def _alone(fact: Facts, resolution: int) -> Finding:
    if fact.problem:
        return Finding(QUARANTINED, fact.problem, fact.detail)
    if fact.flat:
        return Finding(QUARANTINED, "blank", f"one grey level, {fact.brightness:.0f} of 255")
    if fact.smaller_side < resolution:
        return Finding(QUARANTINED, "too_small", f"{fact.width} x {fact.height} pixels, below {resolution}")
    return Finding(USABLE)


def _preference(record: Record) -> tuple[bool, bool, int, str]:
    """Which of several equal images is kept: one for training, whose name is not that of a copy, with the shortest path."""
    marked = bool(_COPY_MARKS.search(PurePosixPath(record.name).stem))
    return record.part == HELD_OUT, marked, len(record.name), record.name
