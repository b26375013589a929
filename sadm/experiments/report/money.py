"""Hours, money and the stop/go line as the page shows them; every number is one of ``comparison.json``'s `business`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sadm.experiments.report.formatting import DASH, bounds, finite, number, percent
from sadm.experiments.report.messages import texts
from sadm.experiments.report.naming import arm_in_text, arm_name, judge_name, part, treatment_of
from sadm.experiments.report.verdict import range_text

_COLUMNS = ("plain", "own", "extra")
_SHORT = ((1 / 30, 3600, "seconds"), (2, 60, "minutes"))  # below so many hours, times so much, in this unit
_MINUS = "\N{MINUS SIGN}"


def duration(hours: Any, lang: str) -> str:
    """Hours in the unit that reads best."""
    known = finite(hours)
    if known is None:
        return DASH
    factor, unit = next(((factor, unit) for least, factor, unit in _SHORT if abs(known) < least), (1, "hours"))
    return texts(lang)[f"unit_{unit}"].format(value=number(known * factor))


def money(value: Any, comparison: Mapping[str, Any]) -> str:
    """An amount with the user's currency."""
    known = finite(value)
    return DASH if known is None else f"{number(known)} {part(comparison, 'business', 'prices').get('currency', '')}"


def time_and_money(hours: Any, amount: Any, comparison: Mapping[str, Any], lang: str) -> str:
    """Hours, with the money beside them where it is known."""
    time = duration(hours, lang)
    if finite(amount) is None:
        return time
    return texts(lang)["money_pair"].format(hours=time, money=money(amount, comparison))


def whole(value: Any) -> Any:
    """Whole numbers without decimals."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def signed(text: str) -> str:
    """A sign before what has none."""
    return text if text.startswith((_MINUS, DASH)) or text.split()[0] == "0" else f"+{text}"


def cost_table(comparison: Mapping[str, Any], lang: str) -> dict[str, Any] | None:
    """Processor time and money: of one training, of a year's trainings, of a year's images."""
    message, business, arm = texts(lang), part(comparison, "business"), treatment_of(comparison)
    rows = []
    for key, count in (("training", None), ("year", "trainings"), ("generation", "images")):
        facts = part(business, key)
        name = message[f"money_{key}"].format(count=number(whole(facts.get(count))) if count else "")
        for kind, show in (("hours", lambda v: duration(v, lang)), ("money", lambda v: money(v, comparison))):
            values = part(facts, kind)
            if values:
                known = _with_extra(values)
                cells = [show(known.get(column)) for column in _COLUMNS]
                label = message["money_time" if kind == "hours" else "money_money"].format(what=name)
                rows.append((label, [*cells[:2], signed(cells[2])]))
    columns = (arm_name("plain", lang), arm_name(arm, lang), message["money_extra"])
    return {"columns": columns, "rows": rows} if rows else None


def cost_sentences(comparison: Mapping[str, Any], lang: str) -> list[str]:
    """What is saved, when the comparison has paid for itself, and how prices are given."""
    message, business = texts(lang), part(comparison, "business")
    if not business:
        return []
    found, saved = [], part(business, "saving")
    if saved:
        found += _saving_sentences(comparison, saved, lang)
    elif part(comparison, "cost_to_plain"):
        found.append(message["money_no_saving"])
    else:
        found.append(message["money_saving_unmeasured"])
    spent = part(business, "comparison")
    if spent:
        amount = time_and_money(spent["hours"]["whole"], part(spent, "money").get("whole"), comparison, lang)
        found.append(message["money_comparison"].format(amount=amount))
    missing = [name for name in ("hour", "volume") if name not in part(business, "prices")]
    if missing:
        found.append(message["money_how"].format(options=" ".join(f"--business.{name}" for name in missing)))
    return found


def _saving_sentences(comparison: Mapping[str, Any], saved: Mapping[str, Any], lang: str) -> list[str]:
    message = texts(lang)
    arm, judge = arm_in_text(treatment_of(comparison), lang), judge_name(comparison, saved["judge"], lang)
    least = message["money_at_least"] if saved["at_least"] else ""
    hours, ends = saved["hours"], bounds(saved["hours"])
    sure = "money_saving_sure" if saved["sure"] else "money_saving_unsure"
    interval = (
        range_text(duration(ends[0], lang), duration(ends[1], lang), lang) if ends else message["money_no_interval"]
    )
    key = "money_saving" if hours["mean"] > 0 else "money_no_saving"
    if key == "money_no_saving":
        return [message[key]]
    amount = time_and_money(hours["mean"], part(saved, "money").get("mean"), comparison, lang)
    found = [
        message[key].format(arm=arm, judge=judge, least=least, amount=amount, interval=interval, sure=message[sure])
    ]
    if "hours_a_year" in saved:
        amount = time_and_money(
            saved["hours_a_year"]["mean"], part(saved, "money_a_year").get("mean"), comparison, lang
        )
        count = number(whole(part(comparison, "business", "prices").get("volume")))
        found.append(message["money_saving_year"].format(count=count, amount=amount))
    if "break_even_trainings" in saved:
        found.append(message["money_break_even"].format(count=number(saved["break_even_trainings"])))
    return found


def worth_rows(comparison: Mapping[str, Any], lang: str) -> list[tuple[str, str, str]]:
    """What a measured downstream gain is worth: name, value, interval; empty where none was measured."""
    message, value, prices = texts(lang), part(comparison, "business", "value"), part(comparison, "business", "prices")
    fields = {
        "defects": number(whole(prices.get("defects"))),
        "name": str(prices.get("defect_class", "")),
    }
    shows = {
        "accuracy": _points,
        "accuracy_over_plain": _points,
        "recall": _points,
        "recall_over_plain": _points,
        "misses_avoided_a_year": number,
        "images": number,
        "break_even_defects": number,
    }
    rows = []
    for key, facts in value.items():
        show = shows.get(key, lambda v: money(v, comparison))
        single = not isinstance(facts, Mapping)
        ends = None if single else bounds(facts)
        shown = show(facts if single else facts.get("mean"))
        interval = range_text(show(ends[0]), show(ends[1]), lang) if ends else ""
        rows.append((message[f"worth_{key}"].format(**fields), shown, interval))
    return rows


def decision(comparison: Mapping[str, Any], lang: str) -> dict[str, str] | None:
    """The stop/go line: what to do, why, and the rule."""
    message, facts = texts(lang), part(comparison, "business", "decision")
    if not facts:
        return None
    reasons = [message[f"decision_quality_{facts['quality']}"], message[f"decision_value_{facts.get('value', 'none')}"]]
    reasons += [message[f"decision_{name}_{facts[name]}"] for name in ("gain", "copies") if name in facts]
    return {
        "say": message[f"decision_{facts['say']}"],
        "key": facts["say"],
        "why": ("" if lang == "ja" else " ").join(reasons),
        "rule": message["decision_rule"],
    }


def _with_extra(values: Mapping[str, Any]) -> dict[str, Any]:
    plain, own = finite(values.get("plain")), finite(values.get("own"))
    extra = {} if plain is None or own is None else {"extra": own - plain}
    return {**extra, **values}


def _points(share: Any) -> str:
    known = finite(share)
    return DASH if known is None else signed(percent(known).replace("-", _MINUS))
