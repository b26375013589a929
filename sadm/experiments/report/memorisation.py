"""The audits of a comparison's models on the page: a verdict for each arm, and the pairs that are most alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sadm.experiments.report.facts import BUDGETS, Regime
from sadm.experiments.report.formatting import bounds, number, per_cent, probability
from sadm.experiments.report.messages import texts
from sadm.experiments.report.naming import arm_name, part
from sadm.experiments.report.pictures import Pictures, grid_uri, tile_side
from sadm.experiments.report.verdict import range_text

GALLERY_BYTES = 600_000  # of all arms' pairs, so that the page can be mailed
_LARGEST_PAIR = 64  # pixels
_GRAVE = ("copies", "closer")


def section(
    comparison: Mapping[str, Any], pictures: Pictures, found: Sequence[Regime], lang: str
) -> dict[str, Any] | None:
    """Verdicts, table, limits and gallery; None where nothing was audited."""
    measured = part(comparison, "audit")
    audited = [(regime, part(measured, BUDGETS[regime.budget], regime.arm)) for regime in found]
    audited = [(regime, facts) for regime, facts in audited if facts]
    if not audited:
        return None
    return {
        "verdicts": _verdicts(measured, [pair for pair in audited if pair[0].budget == "equal_cost"], lang),
        "rows": [(regime, *_cells(facts, lang)) for regime, facts in audited],
        "notes": _notes(measured, lang),
        "gallery": _gallery(pictures, found, lang),
    }


def worst_copies(comparison: Mapping[str, Any], arm: str) -> dict[str, str]:
    """The run of an arm at equal cost with most copies, as sentences are filled with it."""
    measured = part(comparison, "audit")
    return _values(measured, part(measured, "arms", arm))


def _values(measured: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, str]:
    worst = part(facts, "worst")
    return {
        "runs": str(len(facts.get("seeds") or [])),
        "seed": str(worst.get("seed")),
        "copies": number(worst.get("copies")),
        "images": number(measured.get("images")),
        "rate": per_cent(worst.get("copy_rate", 0.0)),
        "low": per_cent(worst.get("low", 0.0)),
        "high": per_cent(worst.get("high", 1.0)),
        "p": probability(facts.get("p_value", 1.0)),
    }


def _verdicts(
    measured: Mapping[str, Any], audited: Sequence[tuple[Regime, Mapping[str, Any]]], lang: str
) -> list[tuple[int | None, bool, str]]:
    """Colour, whether it is grave, and a sentence for each arm; one for all of them where nothing was found."""
    if len(audited) > 1 and all(facts["verdict"] == "clear" for _, facts in audited):
        high = max((part(facts, "worst").get("high", 1.0) for _, facts in audited))
        sentence = texts(lang)["audit_all_clear"].format(images=number(measured.get("images")), high=per_cent(high))
        return [(None, False, sentence)]
    return [
        (regime.colour, facts["verdict"] in _GRAVE, _sentence(measured, regime, facts, lang))
        for regime, facts in audited
    ]


def _sentence(measured: Mapping[str, Any], regime: Regime, facts: Mapping[str, Any], lang: str) -> str:
    return texts(lang)[f"audit_{facts['verdict']}"].format(arm=arm_name(regime.arm, lang), **_values(measured, facts))


def _cells(facts: Mapping[str, Any], lang: str) -> tuple[str, list[tuple[str, str]]]:
    """The verdict in a word; copies of each run, the worst rate, both p-values, and how often images are closer."""
    worst, closer = part(facts, "worst"), part(facts, "closer")
    ends = bounds(closer)
    low, high = (per_cent(min(1.0, max(0.0, end))) for end in ends or (0.0, 1.0))
    between = range_text(low, high, lang) if ends else ""
    cells = [
        (", ".join(map(str, facts["copies"])), ""),
        (per_cent(worst["copy_rate"]), range_text(per_cent(worst["low"]), per_cent(worst["high"]), lang)),
        (probability(facts["copies_p_value"]), ""),
        (per_cent(closer["mean"]), between),
        (probability(facts["p_value"]), ""),
    ]
    return texts(lang)[f"audit_word_{facts['verdict']}"], cells


def _notes(measured: Mapping[str, Any], lang: str) -> list[str]:
    message, threshold, held_out = texts(lang), part(measured, "threshold"), part(measured, "held_out")
    notes = []
    if threshold:
        reference = sum(part(held_out, name).get("images", 0) for name in ("fitting", "reference"))
        notes.append(
            message["audit_limit"].format(
                score=f"{threshold['score']:.2g}",
                reference=number(reference),
                units=number(threshold["units"]),
                alarms=per_cent(threshold["false_alarms"]),
            )
        )
    if measured.get("leaked"):
        notes.append(message["audit_leaked"].format(leaked=number(measured["leaked"])))
    return [*notes, message["audit_together"]]


def _gallery(pictures: Pictures, found: Sequence[Regime], lang: str) -> list[dict[str, Any]]:
    """By arm: generated images above the training image that each is most like, with scores."""
    message, strips = texts(lang), []
    tiles = sum(2 * len(pairs.generated) for pairs in pictures.pairs.values())
    for regime in found:
        pairs = pictures.pairs.get(regime.arm)
        if pairs is None or regime.budget != "equal_cost" or not len(pairs.generated):
            continue
        words = [
            message["audit_copy_score" if copy else "audit_score"].format(score=f"{score:.2f}")
            for score, copy in zip(pairs.scores, pairs.copies, strict=True)
        ]
        name = arm_name(regime.arm, lang)
        rows = np.concatenate([pairs.generated, pairs.training])
        limit = min(_LARGEST_PAIR, tile_side(tiles, rows.shape[-1], GALLERY_BYTES))
        uri = grid_uri(rows, len(pairs.generated), limit)
        alt = message["audit_alt"].format(arm=name, scores=", ".join(words))
        strips.append({"name": name, "colour": regime.colour, "alt": alt, "uri": uri, "words": words})
    return strips
