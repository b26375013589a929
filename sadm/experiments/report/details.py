"""The parts of the page that not every comparison has: other samplers, cost to plain quality, coverage, classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sadm.experiments.config import CONTROL
from sadm.experiments.report.facts import BUDGETS, Regime, change_text, reason, with_interval
from sadm.experiments.report.formatting import DASH, bounds, change, finite, number, percent
from sadm.experiments.report.messages import texts
from sadm.experiments.report.naming import arm_name, decides, judge_name, judges_of, part, treatment_of
from sadm.experiments.report.verdict import range_text

Cell = tuple[str, str]  # a number and its interval, as texts


def samplers(comparison: Mapping[str, Any], found: Sequence[Regime], lang: str) -> dict[str, Any] | None:
    """A table for each further sampler: plain training's FD − floor, and how every other regime changes it."""
    groups = []
    for name, facts in part(comparison, "samplers").items():
        rows = []
        for judge in judges_of(comparison):
            floor = part(comparison, "floor").get(judge)
            plain = _excess_cell(part(facts, "arms", CONTROL, "fd", judge), floor, lang)
            cells = [
                _change_cell(part(facts, "ratios", other.budget, other.arm, judge), lang) for other in _others(found)
            ]
            rows.append((judge_name(comparison, judge, lang), [plain, *cells]))
        nfe = part(facts, "nfe")
        count = number(nfe.get(treatment_of(comparison), nfe.get(CONTROL)))
        groups.append((texts(lang)["samplers_name"].format(name=name, nfe=count), rows))
    return {"columns": _others(found), "groups": groups} if groups else None


def reach(comparison: Mapping[str, Any], lang: str) -> dict[str, Any] | None:
    """By arm and judge, the share of plain training's cost at which the arm is as good as plain training in the end."""
    found = part(comparison, "cost_to_plain")
    judges = judges_of(comparison)
    rows = [
        (arm, arm_name(arm, lang), [_reach_cell(by.get(judge) or {}, lang) for judge in judges])
        for arm, by in found.items()
    ]
    return {"judges": [judge_name(comparison, judge, lang) for judge in judges], "rows": rows} if rows else None


def reach_cards(comparison: Mapping[str, Any], lang: str) -> list[dict[str, str]]:
    """The same as key numbers, for the arm in question and the judges that decide."""
    message, arm = texts(lang), treatment_of(comparison)
    cards = []
    for judge, facts in part(comparison, "cost_to_plain", arm).items():
        if decides(comparison, judge):
            name = judge_name(comparison, judge, lang)
            label = message["card_reach_label"].format(arm=arm_name(arm, lang), judge=name)
            value, interval = _reach_cell(facts or {}, lang)
            detail = f"{message['column_interval']}: {interval}" if interval else ""
            cards.append({"label": label, "value": value, "detail": detail, "note": ""})
    return cards


def coverage(comparison: Mapping[str, Any], found: Sequence[Regime], lang: str) -> dict[str, Any] | None:
    """Precision and recall of real images and of every regime, by judge."""
    real = part(comparison, "real")
    if not real:
        return None
    judges = judges_of(comparison)
    metrics = [(judge, metric) for judge in judges for metric in ("precision", "recall")]
    rows: list[tuple[Regime | None, list[Cell]]] = [
        (None, [(percent(part(real, metric).get(judge)), "") for judge, metric in metrics])
    ]
    rows += [
        (regime, [_share_cell(part(regime.facts, metric, judge), lang) for judge, metric in metrics])
        for regime in found
    ]
    return {"judges": [judge_name(comparison, judge, lang) for judge in judges], "rows": rows}


def classes(comparison: Mapping[str, Any], found: Sequence[Regime], lang: str) -> list[dict[str, Any]]:
    """For each judge that decides, a table with a row for each class, rarest first; other arms at equal cost."""
    holder = part(comparison, "per_class")
    counts = {name: part(facts).get("train_images") for name, facts in part(holder, "classes").items()}
    shown = [regime for regime in found if regime.budget == "equal_cost"]
    tables = []
    for judge in (judge for judge in judges_of(comparison) if decides(comparison, judge)):
        rows = [
            (name, number(count), _class_cells(holder, shown, name, judge, lang))
            for name, count in sorted(counts.items(), key=lambda item: item[1] or 0)
        ]
        if rows:
            arms = [(regime.colour, arm_name(regime.arm, lang)) for regime in shown]
            tables.append({"judge": judge_name(comparison, judge, lang), "arms": arms, "rows": rows})
    return tables


def _class_cells(holder: Mapping[str, Any], shown: Sequence[Regime], name: str, judge: str, lang: str) -> list[Cell]:
    """FD − floor of plain training, changes of the others, recall of real images and of all."""
    floor = part(holder, "real", name, "fd").get(judge)
    cells = [_excess_cell(part(holder, "arms", CONTROL, name, "fd", judge), floor, lang)]
    cells += [
        _change_cell(part(holder, "ratios", name, other.budget, other.arm, judge), lang) for other in _others(shown)
    ]
    cells.append((percent(part(holder, "real", name, "recall").get(judge)), ""))
    return [*cells, *(_share_cell(part(holder, BUDGETS[r.budget], r.arm, name, "recall", judge), lang) for r in shown)]


def _others(found: Sequence[Regime]) -> list[Regime]:
    return [regime for regime in found if regime.arm != CONTROL]


def _excess_cell(fd: Mapping[str, Any], floor: Any, lang: str) -> Cell:
    mean, least = finite(fd.get("mean")), finite(floor)
    return (DASH, "") if mean is None or least is None else with_interval(mean - least, bounds(fd, least), lang)


def _change_cell(ratio: Mapping[str, Any], lang: str) -> Cell:
    ends = bounds(ratio)
    interval = range_text(change(ends[0]), change(ends[1]), lang) if ends else ""
    return (change_text(ratio, lang), interval) if ratio else (DASH, "")


def _share_cell(share: Mapping[str, Any], lang: str) -> Cell:
    """A share of images; the interval ends at 0 and 1, as shares do."""
    ends = bounds(share)
    low, high = (percent(min(1.0, max(0.0, end))) for end in ends or (0.0, 1.0))
    return percent(share.get("mean")), range_text(low, high, lang) if ends else ""


def _reach_cell(facts: Mapping[str, Any], lang: str) -> Cell:
    if facts.get("outside"):
        return f"{facts['outside']} {percent(facts.get('limit'))}", ""
    if finite(facts.get("mean")) is None:
        return f"{DASH} ({reason(facts, lang)})", ""
    ends = bounds(facts)
    return percent(facts["mean"]), range_text(percent(ends[0]), percent(ends[1]), lang) if ends else ""
