"""What the findings come to: usable, needs a look, or unusable, and why, most serious first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sadm.data.preparation.advice import UNBALANCED
from sadm.data.preparation.facts import PROBLEMS

USABLE, LOOK, UNUSABLE = "usable", "look", "unusable"

Point = dict[str, Any]
"""What a person should know: ``key`` of the sentence, ``level``, and what goes into it."""

_OUT_OF_REACH = ("missing", "forbidden", "changing")
_BROKEN = tuple(problem for problem in PROBLEMS if problem not in (*_OUT_OF_REACH, "too_large"))
_PICTURES = (
    ".arw",
    ".avif",
    ".cr2",
    ".cr3",
    ".dng",
    ".heic",
    ".heif",
    ".j2k",
    ".jp2",
    ".jxl",
    ".nef",
    ".pdf",
    ".psd",
    ".svg",
)
"""Kinds of files that people keep pictures in and that are not read."""
_FEW = 100  # images to train on


def points(summary: Mapping[str, Any]) -> list[Point]:
    """What a person should know of a preparation; each of level "stop", "look" or "note".

    Args:
        summary: all of `Preparation.summary` but this.
    """
    found: list[Point] = []

    def say(key: str, level: str, when: Any, **values: Any) -> None:
        if when:
            found.append({"key": key, "level": level, **values})

    outcomes, reasons, classes = summary["outcomes"], summary["reasons"], summary["classes"]
    leakage, near, split = summary["leakage"], summary["near_duplicates"], summary["split"]
    several = sum(count["usable"] > 0 for count in classes["classes"].values())
    key = "no_split_of_classes" if several > 1 else "no_split"
    say(key, "stop", split["why_not"], usable=outcomes["usable"], classes=several)
    say("lost_classes", "look", classes["lost"], names=classes["lost"])
    say("wrong_label", "look", reasons.get("wrong_label"), count=reasons.get("wrong_label"))
    crossing = sum(leakage[kind] for kind in ("group", "exact", "near"))
    say("leakage", "look", crossing, count=crossing, moved=leakage["moved"])
    for key, of in (("unreadable", _BROKEN), ("out_of_reach", _OUT_OF_REACH)):
        count = sum(reasons.get(reason, 0) for reason in of)
        say(key, "look", count, count=count)
    say("too_large", "look", reasons.get("too_large"), count=reasons.get("too_large"))
    level = summary["white_level"]
    better = str(level["better"])  # which belongs to an option, where digits are not grouped
    say("too_dark", "look", level["better"], count=level["images"], peak=level["peak"], better=better)
    say("blank", "look", reasons.get("blank"), count=reasons.get("blank"))
    say("too_small", "look", reasons.get("too_small"), count=reasons.get("too_small"), side=summary["resolution"])
    say("not_listed", "look", outcomes["not_listed"], count=outcomes["not_listed"])
    pictures = {kind: count for kind, count in summary["other_files"].items() if kind in _PICTURES}
    say("other_pictures", "look", pictures, count=sum(pictures.values()), kinds=[*pictures])
    say("near_other_label", "look", near["with_other_labels"], count=near["with_other_labels"])
    say("duplicates", "note", outcomes["duplicate"], count=outcomes["duplicate"])
    say("near", "note", near["images"], images=near["images"], count=near["clusters"])
    say("few_of_class", "look", classes["few"], names=classes["few"])
    say("not_held_out", "look", split["classes_not_held_out"], names=split["classes_not_held_out"])
    ratio = classes["ratio"]
    say("unbalanced", "look", ratio is not None and ratio > UNBALANCED, ratio=ratio)
    say("few_images", "look", not split["why_not"] and split["train"] < _FEW, count=split["train"])
    found.sort(key=lambda point: ("stop", "look", "note").index(point["level"]))
    return found


def verdict(found: list[Point]) -> str:
    """USABLE, LOOK or UNUSABLE."""
    levels = {point["level"] for point in found}
    return UNUSABLE if "stop" in levels else LOOK if "look" in levels else USABLE
