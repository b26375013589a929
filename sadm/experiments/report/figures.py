"""The report's figures as inline SVG: text stays text, colours follow the page, ids are unique, the same each time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from sadm.experiments.report.drawing import (
    ARM_COLOURS,
    ARMS,
    INK,
    Mark,
    draw_mark,
    key_mark,
    labels,
    panel,
    shortened,
    style,
    svg,
)
from sadm.experiments.report.formatting import finite

__all__ = [
    "Curve",
    "Mark",
    "RatioRow",
    "ValueRow",
    "by_value",
    "curves",
    "key_mark",
    "quality_cost",
    "ratio_forest",
    "spans_decades",
    "value_rows",
]


_BLOCKS = 150  # points per curve at most
_HEADING = 0.6  # height of a heading in the ratio figure; other rows have 1
_RATIO_TICKS = (
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.3,
    0.5,
    0.7,
    0.8,
    0.9,
    1.0,
    1.1,
    1.2,
    1.5,
    2.0,
    3.0,
    5.0,
    10.0,
    20.0,
    50.0,
    100.0,
)


@dataclasses.dataclass(frozen=True)
class RatioRow:
    """A row of the ratio figure.

    Attributes:
        label: its name.
        mark: the ratio; None where there is none.
        note: why there is none; empty in a heading.
    """

    label: str
    mark: Mark | None
    note: str = ""

    @property
    def is_heading(self) -> bool:
        """Whether it is the title of the rows that follow."""
        return self.mark is None and not self.note


@dataclasses.dataclass(frozen=True)
class ValueRow:
    """A row of the figure of values.

    Attributes:
        label: its name.
        marks: one for each arm.
        floor: what real images score, drawn as a line.
    """

    label: str
    marks: tuple[Mark, ...]
    floor: float


@dataclasses.dataclass(frozen=True)
class Curve:
    """A curve over training steps."""

    arm: int
    steps: Sequence[Any]
    values: Sequence[Any]
    dashed: bool = False


def quality_cost(marks: Sequence[Mark], x_label: str, y_label: str, prefix: str, alt: str) -> Markup:
    """FD − floor against CPU-seconds, one mark per arm and regime."""
    with style():
        figure, axes = panel(4.2, 3.1)
        axes.axhline(0, color=INK, linewidth=0.8)
        for mark, aside in zip(marks, _set_apart([mark.x for mark in marks]), strict=True):
            draw_mark(axes, mark, ScaledTranslation(aside / 72, 0, figure.dpi_scale_trans), upright=True)
        tops = [v for mark in marks for v in (*mark.values, mark.mean, *(mark.ends or ()))]
        low, high = min([0.0, *tops]), max([0.0, *tops])
        room = (high - low) * 0.08 or 1.0
        axes.set_ylim(low - room * (low < 0), high + room)
        axes.set_xlim(0, max(mark.x for mark in marks) * 1.15 or 1.0)
        labels(axes, x_label, y_label)
        return svg(figure, prefix, alt)


def ratio_forest(rows: Sequence[RatioRow], x_label: str, sides: tuple[str, str], prefix: str, alt: str) -> Markup:
    """Ratios to plain training with their intervals, one row each, under headings, and the line at 1."""
    with style():
        heights = [_HEADING if row.is_heading else 1.0 for row in rows]
        figure, axes = panel(4.6, 0.9 + 0.52 * sum(heights))
        seen = [
            v for row in rows if row.mark for v in (*row.mark.values, row.mark.mean, *(row.mark.ends or ())) if v > 0
        ]
        reach = max([math.log(1.25), *(abs(math.log(value)) for value in seen)]) * 1.08
        for row, level in zip(rows, np.cumsum(heights), strict=True):
            _draw_row(axes, row, -float(level))
        axes.set_xscale("log")
        axes.set_xlim(math.exp(-reach), math.exp(reach))
        axes.set_ylim(-sum(heights) - 0.5, 0.15)
        axes.xaxis.set_major_locator(FixedLocator(_ratio_ticks(reach)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_major_locator(NullLocator())
        axes.spines["left"].set_visible(False)
        for x, text, side in ((0.02, f"← {sides[0]}", "left"), (0.98, f"{sides[1]} →", "right")):
            axes.text(x, 1.0, text, transform=axes.transAxes, ha=side, va="top", fontsize=9, parse_math=False)
        labels(axes, x_label, "")
        return svg(figure, prefix, alt)


def value_rows(rows: Sequence[ValueRow], x_label: str, prefix: str, alt: str) -> Markup:
    """Values with their intervals, in each row the arms one below the other, and a line at what real images score."""
    with style():
        heights = [0.75 + 0.5 * len(row.marks) for row in rows]
        figure, axes = panel(4.2, 0.55 + 0.42 * sum(heights))
        still = ScaledTranslation(0, 0, figure.dpi_scale_trans)
        for row, top in zip(rows, -np.cumsum([0.0, *heights[:-1]]), strict=True):
            words = shortened(row.label)
            label = axes.text(
                0.02, top - 0.12, words, transform=axes.get_yaxis_transform(), va="top", fontsize=9, parse_math=False
            )
            label.set_in_layout(False)
            ends = [top - 0.6, top - 0.6 - 0.5 * len(row.marks)]
            axes.plot([row.floor, row.floor], ends, color=INK, linewidth=1.4, dashes=(3, 2))
            for place, mark in enumerate(row.marks):
                draw_mark(axes, mark, still, upright=False, level=top - 0.85 - 0.5 * place)
        seen = [v for row in rows for m in row.marks for v in (*m.values, m.mean, *(m.ends or ()), row.floor)]
        low, high = min([0.0, *seen]), max(seen)
        room = (high - low) * 0.05 or 1.0
        axes.set_xlim(low - room * (low < 0), high + room)
        axes.set_ylim(-sum(heights) - 0.05, 0.0)
        axes.yaxis.set_major_locator(NullLocator())
        axes.spines["left"].set_visible(False)
        labels(axes, x_label, "")
        return svg(figure, prefix, alt)


def curves(lines: Sequence[Curve], x_label: str, y_label: str, log: bool, prefix: str, alt: str) -> Markup:
    """Curves over training; long ones are reduced to block means with a band from the lowest to the highest value."""
    with style():
        figure, axes = panel(4.2, 2.7)
        for line in lines:
            pairs = _pairs(line, positive=log)
            if not pairs:
                continue
            steps, mean, low, high = _blocks(pairs)
            colour = ARMS[line.arm % ARM_COLOURS]
            if len(pairs) > len(steps):
                axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(steps, mean, color=colour, linewidth=1.4, linestyle="--" if line.dashed else "-")
        if log:
            axes.set_yscale("log")
            low_end, high_end = axes.get_ylim()
            crowded = low_end <= 0 or math.log10(high_end / low_end) > 2
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if crowded else (1.0, 2.0, 5.0)))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        labels(axes, x_label, y_label)
        return svg(figure, prefix, alt)


def by_value(
    values: Sequence[str],
    points: Sequence[tuple[int, float]],
    lowest: Mapping[int, float],
    x_label: str,
    y_label: str,
    prefix: str,
    alt: str,
) -> Markup:
    """Ratios (log scale) against the values of an option, which are evenly spaced; a line through the lowest of each."""
    with style():
        figure, axes = panel(4.2, 2.7)
        axes.axhline(1, color=INK, linewidth=0.8)
        axes.plot(list(lowest), list(lowest.values()), color=ARMS[0], linewidth=1.4)
        axes.plot([x for x, _ in points], [y for _, y in points], "o", color=ARMS[0], alpha=0.7, markersize=5)
        axes.set_xticks(range(len(values)), [shortened(value, 12) for value in values])
        reach = max([math.log(1.1), *(abs(math.log(ratio)) for _, ratio in points)]) * 1.1
        axes.set_yscale("log")
        axes.set_ylim(math.exp(-reach), math.exp(reach))
        axes.yaxis.set_major_locator(FixedLocator(_ratio_ticks(reach)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlim(-0.5, len(values) - 0.5)
        labels(axes, x_label, y_label)
        return svg(figure, prefix, alt)


def spans_decades(lines: Iterable[Curve], factor: float = 10.0) -> bool:
    """Whether positive curves range over more than `factor`, so that a log scale shows them better."""
    values = [finite(value) for line in lines for value in line.values]
    known = [value for value in values if value is not None]
    return bool(known) and min(known) > 0 and max(known) / min(known) > factor


def _set_apart(places: Sequence[float], gap: float = 11.0) -> list[float]:
    """Sideways shifts in points for marks that would hide one another (costs within 5 % of the largest), else 0."""
    close = 0.05 * max(places)
    groups = [[i for i, other in enumerate(places) if abs(other - place) <= close] for place in places]
    return [gap * (group.index(i) - (len(group) - 1) / 2) for i, group in enumerate(groups)]


def _draw_row(axes: Axes, row: RatioRow, level: float) -> None:
    still = ScaledTranslation(0, 0, axes.figure.dpi_scale_trans)
    words = shortened(f"{row.label}: {row.note}" if row.note and row.mark is None else row.label)
    transform, weight = axes.get_yaxis_transform(), "bold" if row.is_heading else "normal"
    place = level - 0.3 if row.is_heading else level + 0.22  # a heading stands nearer to what follows
    label = axes.text(
        0.02, place, words, transform=transform, va="bottom", fontsize=9, fontweight=weight, parse_math=False
    )
    label.set_in_layout(False)  # a long name must not squeeze the axes
    if row.is_heading:
        return
    axes.plot([1, 1], [level - 0.3, level + 0.2], color=INK, linewidth=1.2)  # the line at 1 leaves room for the words
    if row.mark:
        draw_mark(axes, row.mark, still, upright=False, level=level)


def _ratio_ticks(reach: float) -> list[float]:
    """At most seven ticks, 1 among them, no two closer than a tenth of the axis."""
    kept = [1.0]
    for tick in sorted(_RATIO_TICKS, key=lambda value: -abs(math.log(value))):
        inside = abs(math.log(tick)) <= reach
        if inside and len(kept) < 7 and all(abs(math.log(tick / other)) > 0.2 * reach for other in kept):
            kept.append(tick)
    return sorted(kept)


def _pairs(line: Curve, positive: bool) -> list[tuple[float, float]]:
    pairs = [(finite(step), finite(value)) for step, value in zip(line.steps, line.values, strict=False)]
    return [(s, v) for s, v in pairs if s is not None and v is not None and (v > 0 or not positive)]


def _blocks(pairs: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    blocks = np.array_split(np.array(pairs), min(len(pairs), _BLOCKS))
    values = [block[:, 1] for block in blocks]
    steps = np.array([block[:, 0].mean() for block in blocks])
    return steps, *(np.array([reduce(v) for v in values]) for reduce in (np.mean, np.min, np.max))  # type: ignore[return-value]
