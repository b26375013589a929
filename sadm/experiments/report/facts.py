"""From the comparison to what the page shows: arms and budgets, cards and tables. No HTML, no drawing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from sadm.experiments.config import CONTROL, HIDDEN, SADM
from sadm.experiments.report.figures import Mark, RatioRow
from sadm.experiments.report.formatting import DASH, bounds, change, finite, number, percent, times
from sadm.experiments.report.messages import term, texts
from sadm.experiments.report.naming import (
    arm_in_text,
    arm_name,
    judge_name,
    judges_of,
    other_arms,
    part,
    regime_name,
    treatment_of,
)
from sadm.experiments.report.verdict import changes_text, range_text, seed_count, stop_sentences

BUDGETS = {"equal_cost": "arms", "equal_steps": "equal_steps"}  # where the numbers of each budget are
_MOST_NAMES = 40  # class names written out
_UNKNOWN = "unknown"  # what a judge learned from, in the words of `sadm.evaluation`


@dataclasses.dataclass(frozen=True)
class Regime:
    """An arm at one budget: plain training, another arm at equal cost, another arm at equal steps.

    Attributes:
        name: what the page calls it.
        colour: its arm's place in the palette.
        hollow: whether it is drawn in outline (equal steps).
        arm: the arm's key.
        budget: ``equal_cost`` or ``equal_steps``.
        facts: the engine's numbers.
    """

    name: str
    colour: int
    hollow: bool
    arm: str
    budget: str
    facts: Mapping[str, Any]


def palette(*holders: Iterable[str]) -> dict[str, int]:
    """A colour index per arm: plain training 0, SADM 1, hidden structure 2, others in order of appearance."""
    arms = dict.fromkeys([CONTROL, SADM, HIDDEN, *(arm for holder in holders for arm in holder)])
    return {arm: index for index, arm in enumerate(arms)}


def regimes(comparison: Mapping[str, Any], colours: Mapping[str, int], lang: str) -> list[Regime]:
    """All that was trained: plain training, then every other arm at each budget, the one the verdict is about first."""
    found = []
    for arm in (CONTROL, *other_arms(comparison)):
        for budget, source in BUDGETS.items():
            if arm in part(comparison, source):
                name, facts = regime_name(arm, budget, lang), part(comparison, source, arm)
                found.append(Regime(name, colours[arm], budget == "equal_steps", arm, budget, facts))
    return found


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


def ratio_groups(
    comparison: Mapping[str, Any], colours: Mapping[str, int], lang: str
) -> list[tuple[str, list[tuple[RatioRow, dict[str, Any]]]]]:
    """By judge, every paired ratio to plain training, for the figure and, as texts, for the table."""
    groups = []
    for judge in judges_of(comparison):
        rows = [
            _ratio_row(
                Regime(regime_name(arm, budget, lang), colours[arm], budget == "equal_steps", arm, budget, ratio), lang
            )
            for arm in other_arms(comparison)
            for budget in BUDGETS
            if (ratio := part(comparison, "ratios", budget, arm, judge))
        ]
        if rows:
            groups.append((judge_name(comparison, judge, lang), rows))
    return groups


def _ratio_row(regime: Regime, lang: str) -> tuple[RatioRow, dict[str, Any]]:
    """A regime whose facts are a ratio."""
    ratio = regime.facts
    mean, ends, note = finite(ratio.get("mean")), bounds(ratio), reason(ratio, lang)
    values = [value for value in map(finite, ratio.get("values") or []) if value is not None]
    mark = Mark(regime.colour, regime.hollow, mean, ends, tuple(values)) if mean is not None else None
    shown = {
        "regime": regime,
        "change": change_text(ratio, lang),
        "interval": range_text(change(ends[0]), change(ends[1]), lang) if ends else DASH,
        "seeds": ", ".join(map(change, values)) or DASH,
        "reading": reading(ratio, lang),
    }
    return RatioRow(regime.name, mark, note), shown


def change_text(ratio: Mapping[str, Any], lang: str) -> str:
    """A ratio as a change, or that there is none and why."""
    known = finite(ratio.get("mean")) is not None
    return change(ratio["mean"]) if known else f"{texts(lang)['no_value']} ({reason(ratio, lang)})"


def reason(ratio: Mapping[str, Any], lang: str) -> str:
    """Why there is no ratio."""
    return term(ratio.get("reason") or texts(lang)["reason_unknown"], lang)


def reading(ratio: Mapping[str, Any], lang: str) -> str:
    """What a ratio's interval says: better or worse than plain training, or that it cannot be told."""
    message, ends = texts(lang), bounds(ratio)
    if finite(ratio.get("mean")) is None or ends is None or ends[0] <= 1 <= ends[1]:
        return message["open_question"]
    return message["side_better" if ends[1] < 1 else "side_worse"]


def cards(comparison: Mapping[str, Any], lang: str) -> list[dict[str, str]]:
    """The key numbers: change per judge at equal cost, cost ratios, sampling, seeds; all of the arm in question."""
    message, arm = texts(lang), treatment_of(comparison)
    name, found = arm_in_text(arm, lang), []
    for judge, ratio in part(comparison, "ratios", "equal_cost", arm).items():
        ratio, ends = ratio or {}, bounds(ratio)
        known = finite(ratio.get("mean")) is not None
        detail = f"{message['column_interval']}: {range_text(change(ends[0]), change(ends[1]), lang)}" if ends else ""
        label = message["card_ratio_label"].format(arm=name, judge=judge_name(comparison, judge, lang))
        value = change(ratio["mean"]) if known else message["no_value"]
        detail = detail if known else reason(ratio, lang)
        found.append(_card(label, value, detail, reading(ratio, lang)))
    cost, plain = part(comparison, "cost", arm), part(comparison, "cost", CONTROL)
    if finite(cost.get("step_ratio")) is not None:
        pair = (plain.get("cpu_seconds_per_step"), cost.get("cpu_seconds_per_step"))
        detail = message["card_cost_detail"].format(plain=number(pair[0]), own=number(pair[1]), arm=name)
        found.append(_card(message["card_cost_label"].format(arm=name), times(cost["step_ratio"]), detail))
    if finite(cost.get("total_ratio")) is not None:
        label = message["card_total_label"].format(arm=name)
        found.append(_card(label, times(cost["total_ratio"]), message["card_total_detail"]))
    found += _sampling_card(comparison, cost.get("sampling_ratio") or {}, lang)
    count = seed_count(comparison)
    if count is not None:
        found.append(_card(message["card_seeds_label"], str(count), message["card_seeds_detail"]))
    return found


def _sampling_card(comparison: Mapping[str, Any], ratio: Mapping[str, Any], lang: str) -> list[dict[str, str]]:
    """What an image costs against one of plain training's; that it cannot be told apart, where it cannot."""
    message, arm, ends = texts(lang), treatment_of(comparison), bounds(ratio)
    if finite(ratio.get("mean")) is None:
        return []
    name = arm_in_text(arm, lang)
    plain, own = (number(part(comparison, "arms", key).get("sample_ms_per_image")) for key in (CONTROL, arm))
    detail = [message["card_sampling_detail"].format(plain=plain, own=own, arm=name)]
    if ends:
        detail.append(f"{message['column_interval']}: {range_text(times(ends[0]), times(ends[1]), lang)}")
    note = message["open_question"] if ends is None or ends[0] <= 1 <= ends[1] else ""
    label = message["card_sampling_label"].format(arm=name)
    return [_card(label, times(ratio["mean"]), message["clause_join"].join(detail), note)]


def verdict_notes(comparison: Mapping[str, Any], found: Iterable[Regime], lang: str) -> list[str]:
    """What belongs beside the verdict: controls, trainings that diverged, costs, sampling, how far the result reaches."""
    message, treatment = texts(lang), treatment_of(comparison)
    notes = []
    for arm in other_arms(comparison):
        changes = changes_text(comparison, arm, lang)
        if arm != treatment and changes:
            notes.append(message["verdict_control"].format(arm=arm_name(arm, lang), changes=changes))
    notes += stop_sentences(comparison, lang)
    for regime in found:
        count = len(regime.facts.get("diverged") or [])
        if count:
            total = count + len(regime.facts.get("seeds") or [])
            notes.append(message["verdict_diverged"].format(arm=regime.name, count=count, total=total))
    costs = _cost_sentences(comparison, lang)
    notes += [("" if lang == "ja" else " ").join(costs)] if costs else []
    sampling = message.get(f"verdict_sampling_{treatment}")
    return [*notes, *([sampling] if sampling else []), message["verdict_scope"]]


def _cost_sentences(comparison: Mapping[str, Any], lang: str) -> list[str]:
    message, treatment = texts(lang), treatment_of(comparison)
    cost, name, costs = part(comparison, "cost", treatment), arm_in_text(treatment, lang), []
    if finite(cost.get("step_ratio")) is not None:
        costs.append(message["verdict_cost_step"].format(arm=name, ratio=number(cost["step_ratio"])))
    if finite(cost.get("total_ratio")) is not None:
        costs.append(message["verdict_cost_total"].format(ratio=number(cost["total_ratio"])))
    plain, own = (part(comparison, "arms", arm).get("steps") for arm in (CONTROL, treatment))
    if plain and own and plain != own:
        costs.append(message["verdict_cost_steps"].format(arm=name, plain=number(plain), own=number(own)))
    return costs


def cost_rows(comparison: Mapping[str, Any], found: Iterable[Regime], lang: str) -> list[tuple[str, list[str]]]:
    """The cost table: a row per kind of cost, a column per regime."""
    message, shown = texts(lang), list(found)
    diverged = [len(regime.facts.get("diverged") or []) for regime in shown]
    columns: dict[str, list[Any]] = {
        "cost_step": [part(comparison, "cost", regime.arm).get("cpu_seconds_per_step") for regime in shown],
        "cost_steps": [regime.facts.get("steps") for regime in shown],
        "cost_pretraining": [regime.facts.get("pretrain_cpu_seconds") for regime in shown],
        "cost_total": [regime.facts.get("cpu_seconds") for regime in shown],
        "cost_sampling": [regime.facts.get("sample_ms_per_image") for regime in shown],
        "cost_parameters": [regime.facts.get("parameters") for regime in shown],
        "cost_diverged": diverged if any(diverged) else [],
    }
    return [
        (message[key], [number(value) for value in values])
        for key, values in columns.items()
        if any(finite(value) is not None for value in values)
    ]


def cost_notes(comparison: Mapping[str, Any], lang: str) -> list[str]:
    """Lines under the cost table."""
    values = {
        "cost_steps_measured": part(comparison, "cost", treatment_of(comparison)).get("steps_measured"),
        "cost_minutes": comparison.get("minutes_total"),
        "cost_memory": comparison.get("memory_mib"),
    }
    known = [texts(lang)[key].format(value=number(value)) for key, value in values.items() if finite(value) is not None]
    return [texts(lang)["cost_caption"], *known]


def judge_rows(comparison: Mapping[str, Any], lang: str) -> list[list[str]]:
    """Title, kind, source, dimension, accuracy and floor of each judge."""
    rows = []
    for judge in judges_of(comparison):
        facts = part(comparison, "judges", judge)
        accuracy = percent(facts.get("accuracy"))
        floor = number(part(comparison, "floor").get(judge))
        kind = term(facts.get("kind") or DASH, lang)
        source = term(facts.get("learned_from") or DASH, lang)
        rows.append([judge_name(comparison, judge, lang), kind, source, number(facts.get("dim")), accuracy, floor])
    return rows


def independence(comparison: Mapping[str, Any], lang: str) -> str:
    """Which judges may share training images or weights with the structure encoder."""
    message = texts(lang)
    unknown = [
        judge_name(comparison, judge, lang)
        for judge in judges_of(comparison)
        if part(comparison, "judges", judge).get("learned_from") == _UNKNOWN
    ]
    return message["judges_unknown"].format(judges=", ".join(unknown)) if unknown else message["judges_independent"]


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


def _card(label: str, value: str, detail: str, note: str = "") -> dict[str, str]:
    return {"label": label, "value": value, "detail": detail, "note": note}
