"""Three sentences for a meeting – benefit, cost, risk – from the numbers alone, plain about every outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sadm.experiments.business import BAD, GOOD, gain_side
from sadm.experiments.config import CONTROL
from sadm.experiments.report.formatting import change, finite, number, percent, share
from sadm.experiments.report.memorisation import worst_copies
from sadm.experiments.report.messages import texts
from sadm.experiments.report.money import time_and_money, whole
from sadm.experiments.report.naming import arm_in_text, part, treatment_of
from sadm.experiments.report.verdict import deciding_ratios, range_text, seed_count
from sadm.experiments.statistics import AT_THE_FLOOR, DIVERGED

STATES = ("better", "worse", "mixed", "undecided", "diverged", "floor", "one_seed", "unmeasured")


def state(comparison: Mapping[str, Any]) -> str:
    """The outcome as a meeting needs to hear it: one of `STATES`."""
    ratios = deciding_ratios(comparison, treatment_of(comparison))
    if not ratios:
        return "unmeasured"
    reasons = [(ratio or {}).get("reason") for ratio in ratios.values()]
    outcome = part(comparison, "verdict").get("outcome")
    if DIVERGED in reasons:
        return "diverged"
    if outcome in ("better", "worse", "mixed"):
        return str(outcome)
    if all(reason == AT_THE_FLOOR for reason in reasons):
        return "floor"
    return "one_seed" if seed_count(comparison) == 1 else "undecided"


def sentences(comparison: Mapping[str, Any], lang: str) -> list[tuple[str, str, str]]:
    """Key, heading and sentence of benefit, cost and risk.

    Args:
        comparison: as ``comparison.json`` has it; hours and money are taken from its `business`.
        lang: "en" or "ja".

    Raises:
        UserError: there is no such language.
    """
    message = texts(lang)
    said = {"benefit": benefit(comparison, lang), "cost": cost(comparison, lang), "risk": risk(comparison, lang)}
    return [(key, message[f"meeting_{key}"], sentence) for key, sentence in said.items()]


def benefit(comparison: Mapping[str, Any], lang: str) -> str:
    """What is gained at equal cost, or that nothing is shown; what a sure saving or downstream gain adds."""
    message, business = texts(lang), part(comparison, "business")
    clauses = []
    saved, value = part(business, "saving"), part(business, "value")
    if saved.get("sure"):
        clauses.append(message["benefit_clause_saving"].format(share=percent(saved["share"] / saved["plain_share"])))
    if (finite(part(value, "recall").get("low")) or 0) > 0:
        clauses.append(message["benefit_clause_recall"].format(points=percent(value["recall"]["mean"])))
    elif gain_side(comparison, treatment_of(comparison)) == GOOD:
        gained = part(business, "value", "accuracy").get("mean")
        clauses.append(message["benefit_clause_accuracy"].format(points=share(gained)))
    return message[f"benefit_{state(comparison)}"].format(
        arm=_arm(comparison, lang), span=_span(comparison, lang), clauses=_joined(clauses, lang)
    )


def cost(comparison: Mapping[str, Any], lang: str) -> str:
    """What a training costs more, now and a year, as far as that was measured and priced."""
    message, treatment = texts(lang), treatment_of(comparison)
    facts, arm = part(comparison, "cost", treatment), _arm(comparison, lang)
    ratio = finite(facts.get("total_ratio"))
    if ratio is None or facts.get("steps_measured") == 0:
        return message["cost_sentence_unmeasured"].format(arm=arm)
    hours, priced = (part(comparison, "business", "training", key) for key in ("hours", "money"))
    now = ""
    if hours:
        both = {name: time_and_money(hours[name], priced.get(name), comparison, lang) for name in ("plain", "own")}
        now = message["cost_clause_now"].format(**both)
    clauses = [_yearly_clause(comparison, lang), message.get(f"cost_clause_sampling_{treatment}", "")]
    return message["cost_sentence"].format(arm=arm, ratio=number(ratio), now=now, clauses=_joined(clauses, lang))


def risk(comparison: Mapping[str, Any], lang: str) -> str:
    """What may go wrong when one decides by this comparison."""
    message, found = texts(lang), state(comparison)
    count, total = _diverged(comparison)
    seeds = seed_count(comparison)
    key = "risk_seed_unknown" if seeds is None else "verdict_seed_one" if seeds == 1 else "verdict_seed_many"
    clauses = []
    if found != "diverged" and count:
        clauses.append(message["risk_clause_diverged"].format(count=count, total=total))
    if found == "better" and not part(comparison, "business", "value"):
        clauses.append(message["risk_clause_inspection"])
    clauses += [_copies_clause(comparison, found, lang), _harm_clause(comparison, lang)]
    return message[f"risk_{found}"].format(
        arm=_arm(comparison, lang),
        seeds=message[key].format(count=seeds),
        count=count,
        total=total,
        clauses=_joined(clauses, lang),
    )


def _copies_clause(comparison: Mapping[str, Any], found: str, lang: str) -> str:
    """What the audit found; that there was none, where all else speaks for the arm."""
    verdict = part(comparison, "audit", "arms", treatment_of(comparison)).get("verdict")
    if verdict is None:
        return texts(lang)["risk_clause_unaudited"] if found == "better" else ""
    if verdict == "clear":
        return ""
    return texts(lang)[f"risk_clause_{verdict}"].format(**worst_copies(comparison, treatment_of(comparison)))


def _harm_clause(comparison: Mapping[str, Any], lang: str) -> str:
    if gain_side(comparison, treatment_of(comparison)) != BAD:
        return ""
    measured = part(comparison, "downstream")
    gained = part(measured, "arms", treatment_of(comparison), "gains", measured["headline"], "accuracy")
    return texts(lang)["risk_clause_harm"].format(points=share(-gained["mean"]))


def _yearly_clause(comparison: Mapping[str, Any], lang: str) -> str:
    year = part(comparison, "business", "year")
    extra = finite(part(year, "hours").get("extra"))
    if extra is None:
        return ""
    priced = finite(part(year, "money").get("extra"))
    amount = time_and_money(abs(extra), None if priced is None else abs(priced), comparison, lang)
    count = number(whole(year["trainings"]))
    return texts(lang)["cost_clause_more" if extra >= 0 else "cost_clause_less"].format(count=count, amount=amount)


def _joined(clauses: list[str], lang: str) -> str:
    """What is added to a sentence; nothing where there is nothing to add."""
    message, said = texts(lang), [clause for clause in clauses if clause]
    return message["clauses"].format(items=message["clause_join"].join(said)) if said else ""


def _span(comparison: Mapping[str, Any], lang: str) -> str:
    """The changes at equal cost from the best judge's to the worst's."""
    ratios = deciding_ratios(comparison, treatment_of(comparison)).values()
    known = sorted(mean for ratio in ratios if (mean := finite((ratio or {}).get("mean"))) is not None)
    if not known:
        return texts(lang)["no_value"]
    low, high = change(known[0]), change(known[-1])
    return low if low == high else texts(lang)["meeting_span"].format(range=range_text(low, high, lang))


def _diverged(comparison: Mapping[str, Any]) -> tuple[int, int]:
    """How many trainings diverged, of how many, of plain training and the arm in question at both budgets."""
    treatment = treatment_of(comparison)
    groups = [part(comparison, "arms", CONTROL), *(part(comparison, key, treatment) for key in ("arms", "equal_steps"))]
    count = sum(len(group.get("diverged") or []) for group in groups)
    return count, count + sum(len(group.get("seeds") or []) for group in groups)


def _arm(comparison: Mapping[str, Any], lang: str) -> str:
    return arm_in_text(treatment_of(comparison), lang)
