"""What the page calls arms and judges, and which of them the verdict is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sadm.experiments.config import CONTROL, HIDDEN, SADM
from sadm.experiments.report.messages import term, texts


def part(holder: Mapping[str, Any] | None, *keys: str) -> Mapping[str, Any]:
    """A nested mapping, empty where any step of the way is missing."""
    for key in keys:
        holder = (holder or {}).get(key)
    return holder or {}


def treatment_of(comparison: Mapping[str, Any]) -> str:
    """The arm that the verdict is about."""
    return part(comparison, "verdict").get("treatment") or SADM


def other_arms(comparison: Mapping[str, Any]) -> list[str]:
    """All arms but the control: first the one that the verdict is about, then those shown beside it."""
    holders = [part(comparison, "arms"), part(comparison, "equal_steps")]
    holders += [part(comparison, "ratios", budget) for budget in ("equal_cost", "equal_steps")]
    found = dict.fromkeys(arm for holder in holders for arm in holder if arm != CONTROL)
    return sorted(found, key=lambda arm: arm != treatment_of(comparison))


def arm_name(arm: str, lang: str) -> str:
    """An arm as the page calls it; the names of arms of one's own are kept."""
    return texts(lang)[f"arm_{arm}"] if arm in (CONTROL, SADM, HIDDEN) else arm.replace("_", " ")


def arm_in_text(arm: str, lang: str) -> str:
    """An arm within a sentence."""
    return texts(lang).get(f"arm_{arm}_in_text") or arm_name(arm, lang)


def regime_name(arm: str, budget: str, lang: str) -> str:
    """An arm at a budget (``equal_cost`` or ``equal_steps``); the control has but one."""
    message, name = texts(lang), arm_name(arm, lang)
    return name if arm == CONTROL else message["arm_regime"].format(arm=name, regime=message[f"at_{budget}"])


def judge_name(comparison: Mapping[str, Any], judge: str, lang: str) -> str:
    """The judge's title, or its key where it has none; a judge that does not decide says so."""
    described = part(comparison, "judges", judge)
    name = term(described.get("title") or judge, lang)
    return name if described.get("decides", True) else texts(lang)["judge_informs"].format(judge=name)


def decides(comparison: Mapping[str, Any], judge: str) -> bool:
    """Whether the verdict needs this judge's agreement."""
    return part(comparison, "judges", judge).get("decides", True)


def judges_of(comparison: Mapping[str, Any]) -> list[str]:
    """Keys of all judges that anything was measured with, in order of appearance."""
    measured = [part(arm, "fd") for source in ("arms", "equal_steps") for arm in part(comparison, source).values()]
    compared = [
        ratios or {}
        for budget in ("equal_cost", "equal_steps")
        for ratios in part(comparison, "ratios", budget).values()
    ]
    holders = [part(comparison, "judges"), part(comparison, "floor"), *measured, *compared]
    return list(dict.fromkeys(judge for holder in holders for judge in holder))
