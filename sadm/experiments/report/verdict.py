"""The verdict in words, in every language of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sadm.experiments.config import HIDDEN
from sadm.experiments.report.formatting import bounds, change, finite
from sadm.experiments.report.messages import term, texts
from sadm.experiments.report.naming import arm_in_text, arm_name, decides, judge_name, part, treatment_of
from sadm.experiments.statistics import AT_THE_FLOOR, DIVERGED


def seed_count(comparison: Mapping[str, Any]) -> int | None:
    """Number of paired seeds of the arm in question: where it was stopped, else of the protocol, else of the arms."""
    stopped = part(comparison, "stopped", treatment_of(comparison))
    if stopped:
        return int(stopped["seeds"])
    for holder in [part(comparison, "protocol"), *part(comparison, "arms").values()]:
        if holder.get("seeds"):
            return len(holder["seeds"])
    return None


def verdict_headline(comparison: Mapping[str, Any], lang: str) -> str:
    """Who won, in one sentence; an outcome that is missing or unknown counts as undecided."""
    outcome = part(comparison, "verdict").get("outcome")
    key = f"verdict_{outcome}" if outcome in ("better", "worse", "mixed") else "verdict_undecided"
    sentence = texts(lang)[key].format(arm=arm_in_text(treatment_of(comparison), lang))
    return sentence if treatment_of(comparison) != HIDDEN else sentence[0].upper() + sentence[1:]


def verdict_details(comparison: Mapping[str, Any], lang: str) -> str:
    """The numbers behind the verdict, per judge, and what would help where nothing was decided."""
    message, treatment = texts(lang), treatment_of(comparison)
    ratios = deciding_ratios(comparison, treatment)
    if not ratios:
        return message["verdict_unmeasured"]
    count = seed_count(comparison)
    key = "verdict_seed_unknown" if count is None else "verdict_seed_one" if count == 1 else "verdict_seed_many"
    numbers = message["verdict_numbers"].format(
        arm=arm_in_text(treatment, lang),
        changes=changes_text(comparison, treatment, lang),
        seeds=message[key].format(count=count),
    )
    sentences = [numbers]
    outcome = part(comparison, "verdict").get("outcome")
    reasons = [(ratio or {}).get("reason") for ratio in ratios.values()]
    if DIVERGED in reasons:
        sentences.append(message["verdict_diverged_help"])
    elif all(reason == AT_THE_FLOOR for reason in reasons):
        sentences.append(message["verdict_at_floor"])
    elif outcome not in ("better", "worse"):
        sentences.append(message["verdict_mixed_help" if outcome == "mixed" else "verdict_undecided_help"])
    return ("" if lang == "ja" else " ").join(sentences)


def verdict_sentence(comparison: Mapping[str, Any], lang: str = "en") -> str:
    """The verdict in plain words: who won or that it cannot be told, the change per judge with its interval, the seeds.

    Args:
        comparison: the comparison; `verdict` and `ratios.equal_cost` are read.
        lang: "en" or "ja".

    Raises:
        UserError: there is no such language.
    """
    return ("" if lang == "ja" else " ").join((verdict_headline(comparison, lang), verdict_details(comparison, lang)))


def deciding_ratios(comparison: Mapping[str, Any], arm: str) -> dict[str, Any]:
    """An arm's ratios at equal cost in the judges that decide."""
    measured = part(comparison, "ratios", "equal_cost", arm)
    return {judge: ratio for judge, ratio in measured.items() if decides(comparison, judge)}


def changes_text(comparison: Mapping[str, Any], arm: str, lang: str) -> str:
    """An arm's changes at equal cost against plain training in the judges that decide, in words."""
    ratios = deciding_ratios(comparison, arm)
    changes = [_change_of(comparison, judge, ratio or {}, lang) for judge, ratio in ratios.items()]
    return texts(lang)["verdict_join"].join(changes)


def stop_sentences(comparison: Mapping[str, Any], lang: str) -> list[str]:
    """Which arms got no further seeds, after how many, and why."""
    message, found = texts(lang), []
    total = len(part(comparison, "protocol").get("seeds") or [])
    for arm, facts in part(comparison, "stopped").items():
        changes = [
            _change_of(comparison, judge, ratio, lang, "stopped_change") for judge, ratio in facts["ratios"].items()
        ]
        key = "stopped_diverged" if facts["reason"] == DIVERGED else "stopped_worse"
        found.append(
            message[key].format(
                arm=arm_name(arm, lang),
                seeds=facts["seeds"],
                total=total,
                level=_level(facts["confidence"]),
                changes=message["verdict_join"].join(changes),
            )
        )
    return found


def range_text(low: str, high: str, lang: str) -> str:
    """An interval in words."""
    return texts(lang)["interval_range"].format(low=low, high=high)


def _level(confidence: float) -> str:
    """A level as per cent, cut rather than rounded up."""
    return f"{math.floor(confidence * 10000) / 100:g} %"


def _change_of(
    comparison: Mapping[str, Any], judge: str, ratio: Mapping[str, Any], lang: str, key: str = "verdict_change"
) -> str:
    message, name = texts(lang), judge_name(comparison, judge, lang)
    if finite(ratio.get("mean")) is None:
        reason = term(ratio.get("reason") or message["reason_unknown"], lang)
        return message["verdict_no_change"].format(judge=name, reason=reason)
    ends = bounds(ratio)
    if ends is None:
        return message["verdict_change_alone"].format(change=change(ratio["mean"]), judge=name)
    interval = range_text(change(ends[0]), change(ends[1]), lang)
    return message[key].format(change=change(ratio["mean"]), judge=name, interval=interval)
