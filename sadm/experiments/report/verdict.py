"""The verdict in words, in every language of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sadm.experiments.report.formatting import bounds, change, finite
from sadm.experiments.report.messages import term, texts

AT_FLOOR = "at the floor"  # the reason that a ratio is missing: nothing is left above the floor to divide


def judge_name(comparison: Mapping[str, Any], judge: str, lang: str) -> str:
    """The judge's title, or its key where it has none; a judge that does not decide says so."""
    described = (comparison.get("judges") or {}).get(judge) or {}
    name = term(described.get("title") or judge, lang)
    return name if described.get("decides", True) else texts(lang)["judge_informs"].format(judge=name)


def decides(comparison: Mapping[str, Any], judge: str) -> bool:
    """Whether the verdict needs this judge's agreement."""
    return ((comparison.get("judges") or {}).get(judge) or {}).get("decides", True)


def seed_count(comparison: Mapping[str, Any]) -> int | None:
    """Number of paired seeds: of the arms, else of the protocol."""
    arms = list((comparison.get("arms") or {}).values())
    for holder in [*arms, comparison.get("protocol") or {}]:
        if holder.get("seeds"):
            return len(holder["seeds"])
    return None


def verdict_headline(comparison: Mapping[str, Any], lang: str) -> str:
    """Who won, in one sentence; an outcome that is missing or unknown counts as undecided."""
    message = texts(lang)
    outcome = (comparison.get("verdict") or {}).get("outcome")
    return message[f"verdict_{outcome}" if outcome in ("sadm", "plain", "mixed") else "verdict_undecided"]


def verdict_details(comparison: Mapping[str, Any], lang: str) -> str:
    """The numbers behind the verdict, per judge, and what would help where nothing was decided."""
    message = texts(lang)
    measured = (comparison.get("ratios") or {}).get("equal_cost") or {}
    ratios = {judge: ratio for judge, ratio in measured.items() if decides(comparison, judge)}
    if not ratios:
        return message["verdict_unmeasured"]
    changes = [_change_of(comparison, judge, ratio or {}, lang) for judge, ratio in ratios.items()]
    count = seed_count(comparison)
    key = "verdict_seed_unknown" if count is None else "verdict_seed_one" if count == 1 else "verdict_seed_many"
    joined = message["verdict_join"].join(changes)
    sentences = [message["verdict_numbers"].format(changes=joined, seeds=message[key].format(count=count))]
    outcome = (comparison.get("verdict") or {}).get("outcome")
    if all((ratio or {}).get("reason") == AT_FLOOR for ratio in ratios.values()):
        sentences.append(message["verdict_at_floor"])
    elif outcome not in ("sadm", "plain"):
        sentences.append(message["verdict_mixed_help" if outcome == "mixed" else "verdict_undecided_help"])
    return ("" if lang == "ja" else " ").join(sentences)


def verdict_sentence(comparison: Mapping[str, Any], lang: str = "en") -> str:
    """The verdict in plain words: who won or that it cannot be told, the change per judge with its interval, the seeds.

    Args:
        comparison: the comparison; `verdict.outcome` and `ratios.equal_cost` are read.
        lang: "en" or "ja".

    Raises:
        UserError: there is no such language.
    """
    return ("" if lang == "ja" else " ").join((verdict_headline(comparison, lang), verdict_details(comparison, lang)))


def range_text(low: str, high: str, lang: str) -> str:
    """An interval in words."""
    return texts(lang)["interval_range"].format(low=low, high=high)


def _change_of(comparison: Mapping[str, Any], judge: str, ratio: Mapping[str, Any], lang: str) -> str:
    message, name = texts(lang), judge_name(comparison, judge, lang)
    if finite(ratio.get("mean")) is None:
        reason = term(ratio.get("reason") or message["reason_unknown"], lang)
        return message["verdict_no_change"].format(judge=name, reason=reason)
    ends = bounds(ratio)
    if ends is None:
        return message["verdict_change_alone"].format(change=change(ratio["mean"]), judge=name)
    interval = range_text(change(ends[0]), change(ends[1]), lang)
    return message["verdict_change"].format(change=change(ratio["mean"]), judge=name, interval=interval)
