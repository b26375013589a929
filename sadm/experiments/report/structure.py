"""The structure metric on the page: every gap beside what real images score, and its change against plain training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sadm.experiments.config import CONTROL
from sadm.experiments.report import figures
from sadm.experiments.report.facts import Regime, with_interval
from sadm.experiments.report.figures import Mark, ValueRow
from sadm.experiments.report.formatting import DASH, bounds, finite, number, signed_number
from sadm.experiments.report.messages import texts
from sadm.experiments.report.naming import arm_in_text, arm_name, decides, judge_name, part, treatment_of
from sadm.experiments.report.verdict import range_text

GAPS = ("distances", "spectrum", "mixing", "classes")
PATCHES = "patches"
Cell = tuple[str, str]


def section(comparison: Mapping[str, Any], found: Sequence[Regime], lang: str) -> dict[str, Any] | None:
    """Sentences, figures and a table; None where it was not measured."""
    real = part(comparison, "structure_metric", "real")
    shown = [
        regime
        for regime in found
        if regime.budget == "equal_cost" and part(comparison, "structure_metric", "arms", regime.arm)
    ]
    spaces = [space for space in real if space == PATCHES or decides(comparison, space)]
    gaps = [gap for gap in GAPS if any(gap in part(real, space) for space in spaces)]
    if not shown or not gaps:
        return None
    return {
        "sentence": _sentence(comparison, spaces, lang),
        "arms": [(regime.colour, arm_name(regime.arm, lang)) for regime in shown],
        "panels": [_panel(comparison, shown, spaces, gap, lang) for gap in gaps],
        "groups": [_group(comparison, shown, spaces, gap, lang) for gap in gaps],
    }


def side(difference: Mapping[str, Any], own: Any, plain: Any, floor: Any) -> str:
    """What a paired difference says: ``closer`` to real images than plain training, ``farther``, or ``open``.

    A gap below what real images score is no room for the better, so that a change down there says nothing.
    """
    ends, known = bounds(difference), [finite(value) for value in (own, plain, floor)]
    if ends is None or None in known:
        return "open"
    ours, theirs, least = known
    if ends[1] < 0 and theirs > least:  # type: ignore[operator]
        return "closer"
    return "farther" if ends[0] > 0 and ours > least else "open"  # type: ignore[operator]


def sides(comparison: Mapping[str, Any], spaces: Sequence[str], arm: str) -> Counter[str]:
    """How many gaps of an arm at equal cost lie on which side; see `side`."""
    measured = part(comparison, "structure_metric")
    return Counter(
        side(
            difference,
            part(measured, "arms", arm, space, gap).get("mean"),
            part(measured, "arms", CONTROL, space, gap).get("mean"),
            part(measured, "real", space).get(gap),
        )
        for space in spaces
        for gap, difference in part(measured, "differences", "equal_cost", arm, space).items()
    )


def space_name(comparison: Mapping[str, Any], space: str, lang: str) -> str:
    """A judge's title, or that it is about patches."""
    return texts(lang)["structure_patches"] if space == PATCHES else judge_name(comparison, space, lang)


def _sentence(comparison: Mapping[str, Any], spaces: Sequence[str], lang: str) -> str:
    arm = treatment_of(comparison)
    counts = sides(comparison, spaces, arm)
    if not counts:
        return ""
    return texts(lang)["structure_count"].format(
        arm=arm_in_text(arm, lang),
        total=sum(counts.values()),
        **{name: counts[name] for name in ("closer", "farther", "open")},
    )


def _panel(
    comparison: Mapping[str, Any], shown: Sequence[Regime], spaces: Sequence[str], gap: str, lang: str
) -> dict[str, Any]:
    message, measured = texts(lang), part(comparison, "structure_metric")
    rows, told = [], []
    for space in spaces:
        floor = finite(part(measured, "real", space).get(gap))
        estimates = [(regime, part(measured, "arms", regime.arm, space, gap)) for regime in shown]
        marks = tuple(
            Mark(regime.colour, False, float(value["mean"]), bounds(value), tuple(value.get("values") or ()))
            for regime, value in estimates
            if finite(value.get("mean")) is not None
        )
        if floor is None or not marks:
            continue
        name = space_name(comparison, space, lang)
        rows.append(ValueRow(name, marks, floor))
        values = [f"{arm_name(regime.arm, lang)} {number(value.get('mean'))}" for regime, value in estimates]
        told.append(message["structure_value"].format(space=name, floor=number(floor), values=", ".join(values)))
    title = message[f"structure_{gap}"]
    alt = message["structure_alt"].format(gap=title, values=(" " if lang == "en" else "").join(told))
    figure = figures.value_rows(rows, message["axis_gap_value"], f"structure{gap}", alt) if rows else None
    return {"title": title, "explanation": message[f"structure_{gap}_says"], "figure": figure}


def _group(
    comparison: Mapping[str, Any], shown: Sequence[Regime], spaces: Sequence[str], gap: str, lang: str
) -> dict[str, Any]:
    measured, rows = part(comparison, "structure_metric"), []
    for space in spaces:
        floor, plain = part(measured, "real", space).get(gap), part(measured, "arms", CONTROL, space, gap)
        if floor is None:
            continue
        cells: list[Cell] = [(number(floor), "")]
        for regime in shown:
            own = part(measured, "arms", regime.arm, space, gap)
            if regime.arm == CONTROL:
                cells.append(with_interval(own.get("mean"), bounds(own), lang))
                continue
            difference = part(measured, "differences", "equal_cost", regime.arm, space, gap)
            word = texts(lang)[f"structure_{side(difference, own.get('mean'), plain.get('mean'), floor)}"]
            cells.append(_difference(difference, word, lang))
        rows.append((space_name(comparison, space, lang), cells))
    return {"title": texts(lang)[f"structure_{gap}"], "rows": rows}


def _difference(difference: Mapping[str, Any], word: str, lang: str) -> Cell:
    ends = bounds(difference)
    if finite(difference.get("mean")) is None:
        return DASH, ""
    if ends is None:
        return signed_number(difference["mean"]), ""
    interval = range_text(signed_number(ends[0]), signed_number(ends[1]), lang)
    return signed_number(difference["mean"]), texts(lang)["structure_reading"].format(interval=interval, word=word)
