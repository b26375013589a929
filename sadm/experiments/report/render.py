"""The page: facts, figures and pictures put into the template."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jinja2
import numpy as np

from sadm.experiments.report import facts, figures
from sadm.experiments.report.figures import Curve
from sadm.experiments.report.formatting import DASH, finite, number
from sadm.experiments.report.messages import term, texts
from sadm.experiments.report.pictures import Pictures, column_layout, grid_uri
from sadm.experiments.report.verdict import judge_name, verdict_details, verdict_headline

_PAIRS_PER_ROW = 8


def render_report(comparison: Mapping[str, Any], pictures: Pictures, lang: str = "en") -> str:
    """Renders the decision report as one HTML file that loads nothing from anywhere.

    Args:
        comparison: what was measured (arms, judges, floor, ratios, cost, curves, protocol, provenance); a part that is
            missing is left out of the page. An arm's `cpu_seconds` is the whole cost of one training, encoder
            pre-training included; `pretrain_cpu_seconds` is that part of it.
        pictures: the images to show.
        lang: "en" or "ja".

    Returns:
        the page. The same input gives the same text.

    Raises:
        UserError: there is no such language.
        ValueError: pictures are not uint8 [n, H, W, C] with C = 1 or 3.
    """
    message = texts(lang)
    colours = facts.palette(*_arm_holders(comparison, pictures))
    regimes = facts.regimes(comparison, colours, lang)
    outcome = facts.part(comparison, "verdict").get("outcome")
    return _template().render(
        m=message,
        lang=lang,
        title=message["title"].format(title=term(comparison.get("title") or "", lang)),
        winner=colours[outcome] if outcome in ("plain", "sadm") else None,
        headline=verdict_headline(comparison, lang),
        details=verdict_details(comparison, lang),
        notes=facts.verdict_notes(comparison, lang),
        cards=facts.cards(comparison, lang),
        regimes=regimes,
        key_mark=figures.key_mark,
        quality=_quality(comparison, regimes, lang),
        forest=_forest(comparison, colours, lang),
        samples=_samples(pictures, colours, lang),
        cost_rows=facts.cost_rows(comparison, regimes, lang),
        cost_notes=facts.cost_notes(comparison, lang),
        curves=_curves(comparison, colours, lang),
        neighbours=_neighbours(pictures, colours, lang),
        judges=facts.judge_rows(comparison, lang),
        settings=[
            (message[f"heading_{key}"], facts.settings_rows(facts.part(comparison, key), key, lang))
            for key in ("data", "protocol", "provenance")
            if facts.part(comparison, key)
        ],
    )


@functools.cache
def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("sadm.experiments.report", "")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("template.html.j2")


def _arm_holders(comparison: Mapping[str, Any], pictures: Pictures) -> list[Any]:
    measured = [facts.part(comparison, key) for key in ("arms", "equal_steps", "curves")]
    return [*measured, pictures.samples, pictures.neighbours]


def _quality(comparison: Mapping[str, Any], regimes: list[facts.Regime], lang: str) -> list[dict[str, Any]]:
    """Per judge: title, table and, where the floor is known, the figure of quality against cost."""
    message, panels = texts(lang), []
    for place, judge in enumerate(facts.judges(comparison)):
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
        floor = number(facts.part(comparison, "floor").get(judge))
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
    """The paired ratios as a figure and as a table."""
    message, rows = texts(lang), facts.ratio_rows(comparison, colours, lang)
    if not rows:
        return None
    values = "; ".join(f"{shown['label']}: {shown['change']} ({shown['interval']})" for _, shown in rows)
    alt = message["figure_forest_alt"].format(values=values)
    sides = (message["better_sadm"], message["better_plain"])
    figure = figures.ratio_forest([row for row, _ in rows], message["axis_ratio"], sides, "ratio", alt)
    return {"figure": figure, "rows": [shown for _, shown in rows]}


def _samples(pictures: Pictures, colours: Mapping[str, int], lang: str) -> dict[str, Any] | None:
    """The sample grids of all arms and the real images, arranged alike."""
    message = texts(lang)
    shown = [(arm, images) for arm, images in pictures.samples.items() if len(images)]
    if not shown and not len(pictures.real):
        return None
    count = max(len(images) for images in [*(images for _, images in shown), pictures.real])
    columns, heads = column_layout(pictures.labels, count)
    grids = [
        {
            "name": facts.arm_name(arm, lang),
            "colour": colours[arm],
            "alt": message["samples_alt"].format(arm=facts.arm_name(arm, lang)),
            "uri": grid_uri(images, columns),
        }
        for arm, images in shown
    ]
    if len(pictures.real):
        uri = grid_uri(pictures.real, columns)
        grids.append({"name": message["real_images"], "colour": None, "alt": message["samples_real_alt"], "uri": uri})
    order = facts.in_words(pictures.labels, lang) if pictures.labels and not heads else ""
    return {"grids": grids, "columns": columns, "heads": heads, "order": order}


def _curves(comparison: Mapping[str, Any], colours: Mapping[str, int], lang: str) -> list[dict[str, Any]]:
    """Loss of every arm; gap and gradient norms of SADM."""
    message, panels = texts(lang), []
    recorded = facts.part(comparison, "curves")

    def curve(arm: str, key: str, dashed: bool = False) -> Curve:
        run = facts.part(recorded, arm)
        return Curve(colours[arm], run.get("step") or [], run.get(key) or [], dashed)

    losses = {arm: curve(arm, "loss") for arm in recorded if facts.part(recorded, arm).get("loss")}
    if losses:
        log = figures.spans_decades(losses.values())
        values = (" " if lang == "en" else "").join(
            message["curves_loss_value"].format(arm=facts.arm_name(arm, lang), **_ends(line))
            for arm, line in losses.items()
        )
        alt = message["curves_loss_alt"].format(values=values)
        label = message["axis_loss_log" if log else "axis_loss"]
        keys = [(figures.key_mark(line.arm, dashed=False), facts.arm_name(arm, lang)) for arm, line in losses.items()]
        figure = figures.curves(list(losses.values()), message["axis_step"], label, log, "loss", alt)
        panels.append({"title": message["curves_loss_title"], "figure": figure, "keys": keys})
    gap = curve("sadm", "gap")
    if gap.values:
        alt = message["curves_gap_alt"].format(**_ends(gap))
        figure = figures.curves([gap], message["axis_step"], message["axis_gap"], False, "gap", alt)
        keys = [(figures.key_mark(gap.arm, dashed=False), facts.arm_name("sadm", lang))]
        panels.append({"title": message["curves_gap_title"], "figure": figure, "keys": keys})
    denoising, structure = curve("sadm", "g_dsm", dashed=True), curve("sadm", "g_structure")
    if denoising.values or structure.values:
        ends = {f"dsm_{k}": v for k, v in _ends(denoising).items()} | {
            f"gap_{k}": v for k, v in _ends(structure).items()
        }
        alt = message["curves_gradient_alt"].format(**ends)
        label = message["axis_gradient"]
        figure = figures.curves([denoising, structure], message["axis_step"], label, True, "gradient", alt)
        keys = [
            (figures.key_mark(denoising.arm, dashed=True), message["key_gradient_denoising"]),
            (figures.key_mark(structure.arm, dashed=False), message["key_gradient_structure"]),
        ]
        panels.append({"title": message["curves_gradient_title"], "figure": figure, "keys": keys})
    return panels


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
        name = facts.arm_name(arm, lang)
        alt = texts(lang)["neighbours_alt"].format(arm=name)
        found.append({"name": name, "colour": colours[arm], "alt": alt, "strips": strips})
    return found
