"""Sizes of images and balance of classes, as numbers for JSON and for the contact sheet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from sadm.data.colour import DARK
from sadm.data.preparation.facts import Facts

FEW = 10  # images of a class, below which it can hardly be learned or measured
_BINS = 8
_SENSORS = (255, 1023, 4095, 16383)  # white of 8, 10, 12 and 14 bits that are stored in 16
_DARK = 16  # mean grey level


def sizes(facts: Sequence[Facts]) -> dict[str, Any]:
    """Of the usable images: sides, aspect, and a histogram of smaller sides in logarithmic bins."""
    if not facts:
        return {}
    widths, heights = (np.array([getattr(fact, side) for fact in facts]) for side in ("width", "height"))
    return {
        "width": _spread(widths),
        "height": _spread(heights),
        "aspect": _spread(widths / heights),
        "one_size": len({(fact.width, fact.height) for fact in facts}) == 1,
        "smaller_side": _histogram(np.minimum(widths, heights)),
    }


def balance(labels: Sequence[str | None], all_labels: Sequence[str | None]) -> dict[str, Any]:
    """Of classes: images found and usable of each, and what is amiss.

    Args:
        labels: of the usable images.
        all_labels: of all that were found.
    """
    usable = Counter(label for label in labels if label is not None)
    found = Counter(label for label in all_labels if label is not None)
    counts = [usable[name] for name in found if usable[name]]
    return {
        "classes": {name: {"found": found[name], "usable": usable[name]} for name in sorted(found)},
        "ratio": round(max(counts) / min(counts), 2) if counts else None,
        "few": [name for name in sorted(found) if 0 < usable[name] < FEW],
        "lost": [name for name in sorted(found) if not usable[name]],
    }


def peculiarities(facts: Sequence[Facts]) -> dict[str, int]:
    """How many usable images have something about them that is worth knowing and no fault."""
    found = {
        "grey": sum(fact.mode in ("1", "L", "LA") or fact.mode.startswith("I;16") for fact in facts),
        "cmyk": sum(fact.mode == "CMYK" for fact in facts),
        "alpha": sum(fact.alpha for fact in facts),
        "wide": sum(fact.bits > 8 for fact in facts),
        "turned": sum(fact.turned for fact in facts),
        "profile": sum(fact.profile for fact in facts),
        "frames": sum(fact.frames > 1 for fact in facts),
        "dark": sum(fact.brightness < _DARK for fact in facts),
    }
    if found["grey"] == len(facts):
        found["grey"] = 0  # only a mixture is peculiar
    return {key: count for key, count in found.items() if count}


def white_level(facts: Sequence[Facts], used: int) -> dict[str, Any]:
    """What speaks for another white level: images of 16-bit grey of which none comes near white.

    Args:
        facts: of all images, those that look blank among them.
        used: the level that they were read with.

    Returns:
        How many such images there are, their highest value, the level that was used, and a better one; None where there is none.
    """
    peaks = [fact.peak for fact in facts if fact.peak]
    peak = max(peaks, default=0)
    better = next((level for level in _SENSORS if level >= peak), None) if 0 < peak * DARK < used else None
    return {"images": len(peaks), "peak": peak, "used": used, "better": better}


def _spread(values: np.ndarray) -> dict[str, float]:
    return {"min": _plain(values.min()), "median": _plain(np.median(values)), "max": _plain(values.max())}


def _histogram(sides: np.ndarray) -> list[dict[str, int]]:
    low, high = int(sides.min()), int(sides.max())
    if low == high:
        return [{"from": low, "to": high, "count": len(sides)}]
    edges = np.unique(np.rint(np.geomspace(low, high + 1, min(_BINS, high - low + 1) + 1)).astype(int))
    counts, _ = np.histogram(sides, edges)
    return [
        {"from": int(start), "to": int(end) - 1, "count": int(count)}
        for start, end, count in zip(edges, edges[1:], counts, strict=False)
    ]


def _plain(value: Any) -> float:
    number = round(float(value), 3)
    return int(number) if number.is_integer() else number
