"""From the comparison to what the page shows: arms and regimes, cards and tables. No HTML, no drawing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from sadm.experiments.report.figures import Mark, RatioRow
from sadm.experiments.report.formatting import DASH, bounds, change, finite, number, percent, times
from sadm.experiments.report.messages import term, texts
from sadm.experiments.report.verdict import judge_name, range_text, seed_count

REGIMES = ("equal_cost", "equal_steps")
_MOST_NAMES = 40  # class names written out


@dataclasses.dataclass(frozen=True)
class Regime:
    """An arm at one budget: plain training, SADM at equal cost, SADM at equal steps.

    Attributes:
        name: what the page calls it.
        colour: its arm's place in the palette.
        hollow: whether it is drawn in outline (equal steps).
        arm: the arm's key.
        facts: the engine's numbers.
    """

    name: str
    colour: int
    hollow: bool
    arm: str
    facts: Mapping[str, Any]


def part(holder: Mapping[str, Any] | None, *keys: str) -> Mapping[str, Any]:
    """A nested mapping, empty where any step of the way is missing."""
    for key in keys:
        holder = (holder or {}).get(key)
    return holder or {}


def palette(*holders: Iterable[str]) -> dict[str, int]:
    """A colour index per arm: plain training 0, SADM 1, others in order of appearance."""
    arms = dict.fromkeys(["plain", "sadm", *(arm for holder in holders for arm in holder)])
    return {arm: index for index, arm in enumerate(arms)}


def arm_name(arm: str, lang: str) -> str:
    """An arm as the page calls it; unknown arms keep their key."""
    return texts(lang).get(f"arm_{arm}", arm) if arm in ("plain", "sadm") else arm


def regimes(comparison: Mapping[str, Any], colours: Mapping[str, int], lang: str) -> list[Regime]:
    """All that was trained: the arms (at equal cost), then those at equal steps."""
    message, found = texts(lang), []
    for key, source in (("equal_cost", "arms"), ("equal_steps", "equal_steps")):
        for arm, facts in part(comparison, source).items():
            name = arm_name(arm, lang)
            if arm != "plain":
                name = message["arm_regime"].format(arm=name, regime=message[f"at_{key}"])
            found.append(Regime(name, colours[arm], key == "equal_steps", arm, facts or {}))
    return found


def judges(comparison: Mapping[str, Any]) -> list[str]:
    """Keys of all judges that anything was measured with, in order of appearance."""
    measured = [part(arm, "fd") for source in ("arms", "equal_steps") for arm in part(comparison, source).values()]
    compared = [part(comparison, "ratios", key) for key in REGIMES]
    holders = [part(comparison, "judges"), part(comparison, "floor"), *measured, *compared]
    return list(dict.fromkeys(judge for holder in holders for judge in holder))


def excess(comparison: Mapping[str, Any], regime: Regime, judge: str) -> Mark | None:
    """FD − floor of a regime in a judge, or None where either is missing."""
    fd, floor = part(regime.facts, "fd", judge), finite(part(comparison, "floor").get(judge))
    mean = finite(fd.get("mean"))
    if mean is None or floor is None:
        return None
    values = [finite(value) for value in fd.get("values") or []]
    seeds = tuple(value - floor for value in values if value is not None)
    cost = finite(regime.facts.get("cpu_seconds")) or 0.0
    return Mark(regime.colour, regime.hollow, mean - floor, bounds(fd, floor), seeds, cost)


def quality_rows(comparison: Mapping[str, Any], found: Iterable[Regime], judge: str, lang: str) -> list[dict[str, Any]]:
    """A judge's table: FD, FD − floor and KID of each regime, each with its interval."""
    rows = []
    for regime in found:
        fd, kid = part(regime.facts, "fd", judge), part(regime.facts, "kid", judge)
        if not fd and not kid:
            continue
        mark = excess(comparison, regime, judge)
        rows.append(
            {
                "regime": regime,
                "fd": with_interval(fd.get("mean"), bounds(fd), lang),
                "excess": with_interval(mark.mean, mark.ends, lang) if mark else (DASH, ""),
                "kid": with_interval(kid.get("mean"), bounds(kid), lang),
            }
        )
    return rows


def with_interval(mean: Any, ends: tuple[float, float] | None, lang: str) -> tuple[str, str]:
    """A mean and its interval as texts; the second is empty where there is none."""
    return number(mean), range_text(number(ends[0]), number(ends[1]), lang) if ends else ""


def ratio_rows(
    comparison: Mapping[str, Any], colours: Mapping[str, int], lang: str
) -> list[tuple[RatioRow, dict[str, str]]]:
    """Every paired ratio SADM / plain, for the figure and, as texts, for the table."""
    message, rows = texts(lang), []
    for judge in judges(comparison):
        for key in REGIMES:
            ratio = part(comparison, "ratios", key, judge)
            if not ratio:
                continue
            label = message["arm_regime"].format(arm=judge_name(comparison, judge, lang), regime=message[f"at_{key}"])
            values = [value for value in map(finite, ratio.get("values") or []) if value is not None]
            mean, ends = finite(ratio.get("mean")), bounds(ratio)
            mark = Mark(colours["sadm"], key == "equal_steps", mean, ends, tuple(values)) if mean is not None else None
            note = term(ratio.get("reason") or message["reason_unknown"], lang)
            shown = {
                "label": label,
                "change": change(mean) if mark else f"{message['no_value']} ({note})",
                "interval": range_text(change(ends[0]), change(ends[1]), lang) if ends else DASH,
                "seeds": ", ".join(map(change, values)) or DASH,
                "reading": reading(ratio, lang),
            }
            rows.append((RatioRow(label, mark, note), shown))
    return rows


def reading(ratio: Mapping[str, Any], lang: str) -> str:
    """What a ratio's interval says: which side is better, or that it cannot be told."""
    message, ends = texts(lang), bounds(ratio)
    if finite(ratio.get("mean")) is None or ends is None or ends[0] <= 1 <= ends[1]:
        return message["open_question"]
    return message["better_sadm" if ends[1] < 1 else "better_plain"]


def cards(comparison: Mapping[str, Any], lang: str) -> list[dict[str, str]]:
    """The key numbers: change per judge at equal cost, cost ratios, sampling, seeds."""
    message, found = texts(lang), []
    for judge, ratio in part(comparison, "ratios", "equal_cost").items():
        ratio, ends = ratio or {}, bounds(ratio)
        known = finite(ratio.get("mean")) is not None
        detail = f"{message['column_interval']}: {range_text(change(ends[0]), change(ends[1]), lang)}" if ends else ""
        if not known:
            detail = term(ratio.get("reason") or message["reason_unknown"], lang)
        label = message["card_ratio_label"].format(judge=judge_name(comparison, judge, lang))
        value = change(ratio["mean"]) if known else message["no_value"]
        found.append({"label": label, "value": value, "detail": detail, "note": reading(ratio, lang)})
    cost, per_step = part(comparison, "cost"), part(comparison, "cost", "cpu_seconds_per_step")
    if finite(cost.get("step_ratio")) is not None:
        detail = message["card_cost_detail"].format(
            plain=number(per_step.get("plain")), sadm=number(per_step.get("sadm"))
        )
        found.append(_card(message["card_cost_label"], times(cost["step_ratio"]), detail if per_step else ""))
    if finite(cost.get("total_ratio")) is not None:
        found.append(_card(message["card_total_label"], times(cost["total_ratio"]), message["card_total_detail"]))
    plain, sadm = (finite(part(comparison, "arms", arm).get("sample_ms_per_image")) for arm in ("plain", "sadm"))
    if plain and sadm:
        detail = message["card_sampling_detail"].format(plain=number(plain), sadm=number(sadm))
        found.append(_card(message["card_sampling_label"], times(sadm / plain), detail))
    count = seed_count(comparison)
    if count is not None:
        found.append(_card(message["card_seeds_label"], str(count), message["card_seeds_detail"]))
    return found


def verdict_notes(comparison: Mapping[str, Any], lang: str) -> list[str]:
    """What belongs beside the verdict: costs, sampling, how far the result reaches."""
    message, cost = texts(lang), part(comparison, "cost")
    plain, sadm = (part(comparison, "arms", arm).get("steps") for arm in ("plain", "sadm"))
    costs = []
    if finite(cost.get("step_ratio")) is not None:
        costs.append(message["verdict_cost_step"].format(ratio=number(cost["step_ratio"])))
    if finite(cost.get("total_ratio")) is not None:
        costs.append(message["verdict_cost_total"].format(ratio=number(cost["total_ratio"])))
    if plain and sadm and plain != sadm:
        costs.append(message["verdict_cost_steps"].format(plain=number(plain), sadm=number(sadm)))
    joined = ("" if lang == "ja" else " ").join(costs)
    return [*([joined] if costs else []), message["verdict_sampling"], message["verdict_scope"]]


def cost_rows(comparison: Mapping[str, Any], found: Iterable[Regime], lang: str) -> list[tuple[str, list[str]]]:
    """The cost table: a row per kind of cost, a column per regime."""
    message, shown = texts(lang), list(found)
    per_step = part(comparison, "cost", "cpu_seconds_per_step")
    pretraining = part(comparison, "cost").get("pretrain_cpu_seconds")
    columns = {
        "cost_step": [per_step.get(regime.arm) for regime in shown],
        "cost_steps": [regime.facts.get("steps") for regime in shown],
        "cost_pretraining": [
            regime.facts.get("pretrain_cpu_seconds", pretraining if regime.arm == "sadm" else None) for regime in shown
        ],
        "cost_total": [regime.facts.get("cpu_seconds") for regime in shown],
        "cost_sampling": [regime.facts.get("sample_ms_per_image") for regime in shown],
        "cost_parameters": [regime.facts.get("parameters") for regime in shown],
    }
    return [
        (message[key], [number(value) for value in values])
        for key, values in columns.items()
        if any(finite(value) is not None for value in values)
    ]


def cost_notes(comparison: Mapping[str, Any], lang: str) -> list[str]:
    """Lines under the cost table."""
    values = {
        "cost_steps_measured": part(comparison, "cost").get("steps_measured"),
        "cost_minutes": comparison.get("minutes_total"),
        "cost_memory": comparison.get("memory_mib"),
    }
    known = [texts(lang)[key].format(value=number(value)) for key, value in values.items() if finite(value) is not None]
    return [texts(lang)["cost_caption"], *known]


def judge_rows(comparison: Mapping[str, Any], lang: str) -> list[list[str]]:
    """Title, kind, dimension, accuracy and floor of each judge."""
    rows = []
    for judge in judges(comparison):
        facts = part(comparison, "judges", judge)
        accuracy = percent(facts.get("accuracy"))
        floor = number(part(comparison, "floor").get(judge))
        kind = term(facts.get("kind") or DASH, lang)
        rows.append([judge_name(comparison, judge, lang), kind, number(facts.get("dim")), accuracy, floor])
    return rows


def settings_rows(holder: Mapping[str, Any], prefix: str, lang: str) -> list[tuple[str, str]]:
    """Names and values of a mapping; a name without a translation is shown as it is."""
    message = texts(lang)
    return [
        (
            message.get(f"{prefix}_{key}", key.replace("_", " ")),
            _shape(value) if key == "shape" else in_words(value, lang),
        )
        for key, value in holder.items()
        if value is not None
    ]


def in_words(value: Any, lang: str) -> str:
    """Any JSON value as a short text; five and more consecutive whole numbers become a range."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {in_words(inner, lang)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        whole = len(value) > 4 and all(isinstance(item, int) for item in value)
        if whole and list(value) == list(range(value[0], value[0] + len(value))):
            return f"{value[0]}–{value[-1]}"
        more = [f"… ({len(value)})"] if len(value) > _MOST_NAMES else []
        return ", ".join([*(in_words(item, lang) for item in value[:_MOST_NAMES]), *more])
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return number(value)
    return term(value, lang)


def _shape(sides: Iterable[int]) -> str:
    return " × ".join(map(str, sides))


def _card(label: str, value: str, detail: str) -> dict[str, str]:
    return {"label": label, "value": value, "detail": detail, "note": ""}
