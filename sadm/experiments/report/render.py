"""The page: facts, figures and pictures put into the template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sadm.core.pages import page_template
from sadm.experiments.config import CONTROL
from sadm.experiments.plan import MEASUREMENTS
from sadm.experiments.report import details, downstream, facts, figures, meeting, memorisation, money, structure
from sadm.experiments.report.figures import Curve, RatioRow
from sadm.experiments.report.formatting import DASH, finite, number
from sadm.experiments.report.messages import term, texts
from sadm.experiments.report.naming import arm_name, judge_name, judges_of, part, treatment_of
from sadm.experiments.report.pictures import Pictures, column_layout, grid_uri, tile_side
from sadm.experiments.report.verdict import verdict_details, verdict_headline

SAMPLES_BYTES = 1_200_000  # of all sample grids, so that the page can be mailed
_PAIRS_PER_ROW = 8


def render_report(comparison: Mapping[str, Any], pictures: Pictures, lang: str = "en") -> str:
    """Renders the decision report as one HTML file that loads nothing from anywhere.

    Args:
        comparison: what was measured, as ``comparison.json`` has it (arms, judges, floor, ratios, cost, curves, protocol,
            provenance, …); a part that is missing is left out of the page. An arm's `cpu_seconds` is the whole cost of one
            training, encoder pre-training included; `pretrain_cpu_seconds` is that part of it.
        pictures: the images to show.
        lang: "en" or "ja".

    Returns:
        the page. The same input gives the same text.

    Raises:
        UserError: there is no such language.
        ValueError: pictures are not uint8 [n, H, W, C] with C = 1, 3 or 4.
    """
    message = texts(lang)
    colours = facts.palette(*_arm_holders(comparison, pictures))
    regimes = facts.regimes(comparison, colours, lang)
    treatment = treatment_of(comparison)
    winners = {"better": colours[treatment], "worse": colours[CONTROL]}
    subtitle = message.get(f"subtitle_{treatment}", message["subtitle_other"])
    return page_template(__package__).render(
        m=message,
        lang=lang,
        title=message["title"].format(arm=arm_name(treatment, lang), title=term(comparison.get("title") or "", lang)),
        subtitle=subtitle.format(arm=arm_name(treatment, lang)),
        winner=winners.get(part(comparison, "verdict").get("outcome", "")),
        headline=verdict_headline(comparison, lang),
        details=verdict_details(comparison, lang),
        notes=facts.verdict_notes(comparison, regimes, lang),
        meeting=meeting.sentences(comparison, lang),
        decision=money.decision(comparison, lang),
        cards=facts.cards(comparison, lang) + details.reach_cards(comparison, lang),
        regimes=regimes,
        key_mark=figures.key_mark,
        quality=_quality(comparison, regimes, lang),
        forest=_forest(comparison, colours, lang),
        samplers=details.samplers(comparison, regimes, lang),
        coverage=details.coverage(comparison, regimes, lang),
        classes=details.classes(comparison, regimes, lang),
        samples=_samples(pictures, colours, lang),
        structure=structure.section(comparison, regimes, lang),
        memorisation=memorisation.section(comparison, pictures, regimes, lang),
        downstream=downstream.gain(comparison, regimes, lang),
        representation=downstream.representation(comparison, regimes, lang),
        unmeasured=_unmeasured(comparison, lang),
        cost_rows=facts.cost_rows(comparison, regimes, lang),
        cost_notes=facts.cost_notes(comparison, lang),
        money=money.cost_table(comparison, lang),
        money_notes=money.cost_sentences(comparison, lang),
        worth=money.worth_rows(comparison, lang),
        reach=_reach(comparison, colours, lang),
        curves=_curves(comparison, colours, lang),
        neighbours=_neighbours(pictures, colours, lang),
        judges=facts.judge_rows(comparison, lang),
        independence=facts.independence(comparison, lang),
        settings=[
            (key, message[f"heading_{key}"], facts.settings_rows(part(comparison, key), key, lang))
            for key in ("data", "protocol", "provenance")
            if part(comparison, key)
        ],
    )


def _unmeasured(comparison: Mapping[str, Any], lang: str) -> list[str]:
    """For each measurement that was not asked for, which option makes it."""
    return [texts(lang)[f"unmeasured_{name}"] for name in MEASUREMENTS if not part(comparison, name)]


def _arm_holders(comparison: Mapping[str, Any], pictures: Pictures) -> list[Any]:
    measured = [part(comparison, key) for key in ("arms", "equal_steps", "curves")]
    return [*measured, pictures.samples, pictures.neighbours, pictures.pairs]


def _quality(comparison: Mapping[str, Any], regimes: list[facts.Regime], lang: str) -> list[dict[str, Any]]:
    """Per judge: title, table and, where the floor is known, the figure of quality against cost."""
    message, panels = texts(lang), []
    for place, judge in enumerate(judges_of(comparison)):
        name = judge_name(comparison, judge, lang)
        pairs = [(regime, facts.excess(comparison, regime, judge)) for regime in regimes]
        known = [(regime, mark) for regime, mark in pairs if mark is not None]
        rows = facts.quality_rows(comparison, regimes, judge, lang)
        if not rows:
            continue
        values = (" " if lang == "en" else "").join(
            message["figure_quality_value"].format(arm=regime.name, mean=number(mark.mean), cost=number(mark.x))
            for regime, mark in known
        )
        alt = message["figure_quality_alt"].format(judge=name, values=values)
        marks = [mark for _, mark in known]
        figure = None
        if marks:
            figure = figures.quality_cost(marks, message["axis_cost"], message["axis_excess"], f"quality{place}", alt)
        floor = number(part(comparison, "floor").get(judge))
        panels.append(
            {
                "name": name,
                "figure": figure,
                "rows": rows,
                "floor": floor,
                "kid": any(row["kid"][0] != DASH for row in rows),
            }
        )
    return panels


def _forest(comparison: Mapping[str, Any], colours: Mapping[str, int], lang: str) -> dict[str, Any] | None:
    """The paired ratios as a figure and as a table, by judge."""
    message, groups = texts(lang), facts.ratio_groups(comparison, colours, lang)
    if not groups:
        return None
    values = "; ".join(
        f"{judge}, {shown['regime'].name}: {shown['change']} ({shown['interval']})"
        for judge, rows in groups
        for _, shown in rows
    )
    alt = message["figure_forest_alt"].format(values=values)
    sides = (message["side_better"], message["side_worse"])
    drawn = [row for judge, rows in groups for row in (RatioRow(judge, None), *(row for row, _ in rows))]
    figure = figures.ratio_forest(drawn, message["axis_ratio"], sides, "ratio", alt)
    return {"figure": figure, "groups": [(judge, [shown for _, shown in rows]) for judge, rows in groups]}


def _reach(comparison: Mapping[str, Any], colours: Mapping[str, int], lang: str) -> dict[str, Any] | None:
    table = details.reach(comparison, lang)
    if table is not None:
        table["rows"] = [(colours[arm], name, cells) for arm, name, cells in table["rows"]]
    return table


def _samples(pictures: Pictures, colours: Mapping[str, int], lang: str) -> dict[str, Any] | None:
    """The sample grids of all arms and the real images, arranged alike."""
    message = texts(lang)
    shown = [(arm, images) for arm, images in pictures.samples.items() if len(images)]
    if not shown and not len(pictures.real):
        return None
    count = max(len(images) for images in [*(images for _, images in shown), pictures.real])
    columns, heads = column_layout(pictures.labels, count)
    everything = [*(images for _, images in shown), *([pictures.real] if len(pictures.real) else [])]
    limit = tile_side(sum(map(len, everything)), everything[0].shape[-1], SAMPLES_BYTES)
    grids = [
        {
            "name": arm_name(arm, lang),
            "colour": colours[arm],
            "alt": message["samples_alt"].format(arm=arm_name(arm, lang)),
            "uri": grid_uri(images, columns, limit),
        }
        for arm, images in shown
    ]
    if len(pictures.real):
        uri = grid_uri(pictures.real, columns, limit)
        grids.append({"name": message["real_images"], "colour": None, "alt": message["samples_real_alt"], "uri": uri})
    order = facts.in_words(pictures.labels, lang) if pictures.labels and not heads else ""
    return {"grids": grids, "columns": columns, "heads": heads, "order": order}


def _curves(comparison: Mapping[str, Any], colours: Mapping[str, int], lang: str) -> list[dict[str, Any]]:
    """Loss and gap of every arm that has them; gradient norms of the arm in question."""
    message, recorded = texts(lang), part(comparison, "curves")
    loss, gap = (_by_arm(recorded, colours, key) for key in ("loss", "gap"))
    log = figures.spans_decades(loss.values())
    panels = [
        _curve_panel("loss", loss, message["axis_loss_log" if log else "axis_loss"], log, lang),
        _curve_panel("gap", gap, message["axis_gap"], False, lang),
        _gradient_panel(recorded, treatment_of(comparison), colours, lang),
    ]
    return [panel for panel in panels if panel is not None]


def _by_arm(recorded: Mapping[str, Any], colours: Mapping[str, int], key: str) -> dict[str, Curve]:
    runs = {arm: part(recorded, arm) for arm in recorded}
    return {arm: Curve(colours[arm], run.get("step") or [], run[key]) for arm, run in runs.items() if run.get(key)}


def _curve_panel(key: str, lines: Mapping[str, Curve], label: str, log: bool, lang: str) -> dict[str, Any] | None:
    """One quantity over training, a line for each arm."""
    if not lines:
        return None
    message = texts(lang)
    ends = [message["curves_value"].format(arm=arm_name(arm, lang), **_ends(line)) for arm, line in lines.items()]
    alt = message[f"curves_{key}_alt"].format(values=(" " if lang == "en" else "").join(ends))
    keys = [(figures.key_mark(line.arm, dashed=False), arm_name(arm, lang)) for arm, line in lines.items()]
    figure = figures.curves(list(lines.values()), message["axis_step"], label, log, key, alt)
    return {"title": message[f"curves_{key}_title"], "figure": figure, "keys": keys}


def _gradient_panel(
    recorded: Mapping[str, Any], arm: str, colours: Mapping[str, int], lang: str
) -> dict[str, Any] | None:
    """The two gradients of an arm that plays the game."""
    message, run = texts(lang), part(recorded, arm)
    denoising, structure = (
        Curve(colours[arm], run.get("step") or [], run.get(key) or [], dashed)
        for key, dashed in (("g_dsm", True), ("g_structure", False))
    )
    if not denoising.values and not structure.values:
        return None
    ends = {f"dsm_{k}": v for k, v in _ends(denoising).items()} | {f"gap_{k}": v for k, v in _ends(structure).items()}
    name, label = arm_name(arm, lang), message["axis_gradient"]
    alt = message["curves_gradient_alt"].format(arm=name, **ends)
    keys = [
        (figures.key_mark(denoising.arm, dashed=True), message["key_gradient_denoising"]),
        (figures.key_mark(structure.arm, dashed=False), message["key_gradient_structure"]),
    ]
    figure = figures.curves([denoising, structure], message["axis_step"], label, True, "gradient", alt)
    return {"title": message["curves_gradient_title"].format(arm=name), "figure": figure, "keys": keys}


def _ends(line: Curve) -> dict[str, str]:
    known = [value for value in line.values if finite(value) is not None]
    return {"first": number(known[0]), "last": number(known[-1])} if known else {"first": DASH, "last": DASH}


def _neighbours(pictures: Pictures, colours: Mapping[str, int], lang: str) -> list[dict[str, Any]]:
    """Per arm: rows of pairs, generated above nearest training image, with the distances."""
    found = []
    for arm, (generated, nearest, distances) in pictures.neighbours.items():
        strips = []
        for start in range(0, len(generated), _PAIRS_PER_ROW):
            chosen = slice(start, start + _PAIRS_PER_ROW)
            upper, lower = generated[chosen], nearest[chosen]
            uri = grid_uri(np.concatenate([upper, lower]), len(upper))
            strips.append(
                {"uri": uri, "columns": len(upper), "distances": [number(float(d)) for d in distances[chosen]]}
            )
        name = arm_name(arm, lang)
        alt = texts(lang)["neighbours_alt"].format(arm=name)
        found.append({"name": name, "colour": colours[arm], "alt": alt, "strips": strips})
    return found
