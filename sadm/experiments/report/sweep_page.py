"""The page of a sweep, and its findings in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sadm.core.pages import page_template
from sadm.experiments.report import figures
from sadm.experiments.report.formatting import DASH, bounds, change, finite, number
from sadm.experiments.report.naming import judge_name
from sadm.experiments.report.sweep_texts import sweep_texts
from sadm.experiments.report.verdict import range_text

_NAMED = 6


def render_sweep(found: Mapping[str, Any], lang: str = "en") -> str:
    """Renders a sweep as one HTML file that loads nothing from anywhere.

    Args:
        found: what was measured, as ``sweep.json`` has it.
        lang: "en" or "ja".

    Returns:
        the page. The same input gives the same text.
    """
    message = sweep_texts(lang)
    judges = [(judge, judge_name(found, judge, lang)) for judge in found["deciding"]]
    headline, *notes = sweep_sentences(found, lang, with_command=False)
    return page_template(__package__, "sweep.html.j2").render(
        m=message,
        lang=lang,
        title=message["title"].format(title=found["title"]),
        subtitle=message["subtitle"].format(baseline=found["baseline"]),
        headline=headline,
        notes=notes,
        command=(found["confirm"] or {}).get("command"),
        judges=[message["column_each"].format(judge=name) for _, name in judges],
        rows=[_row(found, setting, message, lang) for setting in found["settings"]],
        stopped=[
            {
                "name": line["name"],
                "place": message["stopped_place"].format(**line),
                "change": _change(line["ratio"], message, lang),
                "reason": message[line["reason"]],
            }
            for line in found["stopped"]
        ],
        figures=[
            (option, _figure(found, option, f"axis{place}", lang))
            for place, option in enumerate(found["vary"])
            if len(found["vary"][option]) > 1
        ],
    )


def sweep_sentences(found: Mapping[str, Any], lang: str, with_command: bool = True) -> list[str]:
    """What was found and how sure it is: the best setting first, then what to keep in mind, last how to confirm it."""
    message, settings = sweep_texts(lang), found["settings"]
    best = settings[0]
    if best["diverged"]:
        return [message["best_none"]]
    lines = [message["best"].format(count=len(settings) + len(found["stopped"]), best=best["name"])]
    if best["name"] == found["baseline"]:
        lines = [message["best_is_baseline"].format(best=best["name"])]
    elif finite(best["ratio"]["mean"]) is not None:
        ends = bounds(best["ratio"])
        interval = "" if ends is None else message["interval"].format(low=change(ends[0]), high=change(ends[1]))
        lines.append(
            message["best_change"].format(
                change=change(best["ratio"]["mean"]),
                baseline=found["baseline"],
                interval=interval,
                seeds=len(found["seeds"]),
            )
        )
    lines += _beside_the_best(found, message, lang)
    lines += [message["optimistic"], message["equal_steps"].format(steps=found["steps"])]
    if len(found["seeds"]) > 1 and len(settings) > 2:
        lines.append(message["noise"].format(pairs=math.comb(len(settings), 2)))
    if with_command and found["confirm"]:
        lines.append(message["confirm"].format(command=found["confirm"]["command"]))
    return lines


def _beside_the_best(found: Mapping[str, Any], message: Mapping[str, str], lang: str) -> list[str]:
    """From which settings the best one can be told apart, from which it can't, and with which it was not compared."""
    others, stopped = found["settings"][1:], [line["name"] for line in found["stopped"]]
    diverged = [setting["name"] for setting in others if setting["diverged"]]
    compared = [setting for setting in others if not setting["diverged"]]
    alike = [setting["name"] for setting in compared if not setting["apart_from_best"]]
    missing = len(diverged) + len(stopped)
    lines = []
    if len(found["seeds"]) == 1:
        lines.append(message["one_seed"])
    else:
        if missing:
            lines.append(message["compared"].format(count=len(compared), all=len(compared) + missing))
        if alike:
            key = "not_told_apart_one" if len(alike) == 1 else "not_told_apart"
            lines.append(message[key].format(count=len(alike), names=_named(alike, lang)))
        elif compared:
            lines.append(message["told_apart_compared" if missing else "told_apart"])
    if diverged:
        lines.append(message["diverged"].format(names=_named(diverged, lang)))
    if stopped:
        lines.append(message["stopped"].format(names=_named(stopped, lang)))
    return lines


def _named(names: Sequence[str], lang: str) -> str:
    return (", " if lang == "en" else "、").join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")


def _row(found: Mapping[str, Any], setting: Mapping[str, Any], message: Mapping[str, str], lang: str) -> dict[str, Any]:
    alike = not setting["apart_from_best"] and not setting["diverged"] and setting["rank"] > 1
    return {
        "rank": setting["rank"],
        "name": setting["name"],
        "note": message["with_best"] if alike else "",
        "cells": [
            (DASH, message["column_baseline"])
            if setting["name"] == found["baseline"]
            else _change(ratio, message, lang)
            for ratio in (setting["ratio"], *(setting["ratios"][judge] for judge in found["deciding"]))
        ],
        "cpu": number(setting.get("cpu_seconds")),
    }


def _change(ratio: Mapping[str, Any], message: Mapping[str, str], lang: str) -> tuple[str, str]:
    """A ratio as a signed change and its interval in words, or the reason why there is none."""
    if finite(ratio["mean"]) is None:
        return DASH, message[ratio["reason"]]
    ends = bounds(ratio)
    return change(ratio["mean"]), "" if ends is None else range_text(change(ends[0]), change(ends[1]), lang)


def _figure(found: Mapping[str, Any], option: str, prefix: str, lang: str) -> Markup | None:
    """Ratios against one option's values, a point for each setting."""
    message, values = sweep_texts(lang), found["vary"][option]
    points = [
        (values.index(setting["values"][option]), float(setting["ratio"]["mean"]))
        for setting in found["settings"]
        if finite(setting["ratio"]["mean"]) is not None
    ]
    if not points:
        return None
    lowest = {place: min(ratio for at, ratio in points if at == place) for place, _ in sorted(points)}
    told = (" " if lang == "en" else "").join(
        message["alt_value"].format(value=values[place], change=change(ratio)) for place, ratio in lowest.items()
    )
    alt = message["alt"].format(baseline=found["baseline"], option=option, values=told)
    return figures.by_value(
        [str(value) for value in values], points, lowest, option, message["axis_ratio"], prefix, alt
    )
