"""What is said about filled classes and about their worth."""

from __future__ import annotations

from typing import Any

from sadm.applications.augment.filters import FILTERS
from sadm.evaluation.downstream.filled import GENERATED, HELPS, HURTS

REASONS = {
    "class": "do not show the class plainly enough",
    "quality": "lie too far from the real images of the class",
    "copy": "are near copies of training images",
    "repeat": "are near copies of other generated ones",
}
NOTHING = "There are no generated images, so there is nothing to measure."
CONTROLS = {
    "oversampled": "repeating real images",
    "classical": "repeating them changed (turned, shifted, re-lit)",
}


def shortfall(name: str, found: dict[str, Any]) -> str:
    """Why a class got fewer images than it lacked."""
    reasons = ", ".join(f"{found['refused'][key]} {REASONS[key]}" for key in FILTERS if found["refused"][key])
    return (
        f"'{name}' is short of {found['short']} of {found['missing']} images: {found['drawn']} were drawn, and of those "
        f"{reasons or 'none was refused'}. Draw more (--draw-at-most), train the model longer, or give it more images "
        "of this class."
    )


def worth_sentence(facts: dict[str, Any]) -> str:
    """Whether generated images help, by `outcome_of`, and whether what costs nothing does as well."""
    names, count = facts["classes"], sum(facts["added"].values())
    gains = facts["gains"][GENERATED]
    recall, accuracy = (_points(gains[key]) for key in ("equal_precision", "accuracy"))
    which = f"'{names[0]}'" if len(names) == 1 else f"the {len(names)} filled classes"
    verdict = {HELPS: "help", HURTS: "hurt"}.get(facts["outcome"], "are not shown to help")
    text = (
        f"The {count} generated images {verdict}: recall of {which} at equal precision {recall}, accuracy {accuracy}, on "
        f"{facts['held_out_images']} held-out real images, over {facts['seeds']} classifiers of each kind."
    )
    if facts["seeds"] == 1:
        return f"{text} One classifier of each kind gives no interval; give --classifiers 5."
    return text + (f" {_controls(facts)}" if facts["outcome"] == HELPS else "")


def _controls(facts: dict[str, Any]) -> str:
    """Whether the gain is more than that of the controls."""
    as_good = [name for name, gain in facts["beyond"].items() if not gain["equal_precision"]["low"] > 0]
    if not as_good:
        return "They gain more than repeating real images does, as they are or changed."
    told = "; ".join(f"{CONTROLS[name]} gives {_points(facts['gains'][name]['equal_precision'])}" for name in as_good)
    return f"They are not shown to gain more than what costs nothing: {told}."


def _points(interval: dict[str, Any]) -> str:
    text = f"{100 * interval['mean']:+.1f} points"
    if interval["low"] is None:
        return text
    return f"{text} (95 % interval {100 * interval['low']:+.1f} to {100 * interval['high']:+.1f})"
