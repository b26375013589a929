"""The report's figures as inline SVG: text stays text, colours follow the page, ids are unique, the same each time.

Matplotlib draws with fixed colours; they are then replaced by the page's custom properties (`--arm0`, `--rule`) and
currentColor, so that one SVG is legible on a light and on a dark page, and on paper.
"""

from __future__ import annotations

import dataclasses
import io
import math
import re
import unicodedata
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from sadm.experiments.report.formatting import finite

ARM_COLOURS = 6  # --arm0 … --arm5 in the style sheet; further arms begin again
_INK, _RULE = "#010101", "#020202"  # stand-ins for the text's and the grid's colour
_ARMS = [f"#0300{index:02x}" for index in range(ARM_COLOURS)]
_BLOCKS = 150  # points per curve at most
_HEADING = 0.6  # height of a heading in the ratio figure; other rows have 1
_MARKERS = ("o", "s", "D", "^", "v", "P")  # so that an arm is known by its shape too
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
class Mark:
    """A mean with its interval and its seeds.

    Attributes:
        arm: the arm's place in the palette.
        hollow: drawn in outline (the equal-steps variant of an arm).
        mean: the mean.
        ends: the interval, or None.
        values: one value per seed.
        x: place on the cost axis; unused in a ratio figure.
    """

    arm: int
    hollow: bool
    mean: float
    ends: tuple[float, float] | None
    values: tuple[float, ...] = ()
    x: float = 0.0


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
class Curve:
    """A curve over training steps."""

    arm: int
    steps: Sequence[Any]
    values: Sequence[Any]
    dashed: bool = False


def quality_cost(marks: Sequence[Mark], x_label: str, y_label: str, prefix: str, alt: str) -> Markup:
    """FD − floor against CPU-seconds, one mark per arm and regime."""
    with _style():
        figure, axes = _panel(4.2, 3.1)
        axes.axhline(0, color=_INK, linewidth=0.8)
        for mark, aside in zip(marks, _set_apart([mark.x for mark in marks]), strict=True):
            _draw_mark(axes, mark, ScaledTranslation(aside / 72, 0, figure.dpi_scale_trans), upright=True)
        tops = [v for mark in marks for v in (*mark.values, mark.mean, *(mark.ends or ()))]
        low, high = min([0.0, *tops]), max([0.0, *tops])
        room = (high - low) * 0.08 or 1.0
        axes.set_ylim(low - room * (low < 0), high + room)
        axes.set_xlim(0, max(mark.x for mark in marks) * 1.15 or 1.0)
        _labels(axes, x_label, y_label)
        return _svg(figure, prefix, alt)


def ratio_forest(rows: Sequence[RatioRow], x_label: str, sides: tuple[str, str], prefix: str, alt: str) -> Markup:
    """Ratios to plain training with their intervals, one row each, under headings, and the line at 1."""
    with _style():
        heights = [_HEADING if row.is_heading else 1.0 for row in rows]
        figure, axes = _panel(4.6, 0.9 + 0.52 * sum(heights))
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
        _labels(axes, x_label, "")
        return _svg(figure, prefix, alt)


def curves(lines: Sequence[Curve], x_label: str, y_label: str, log: bool, prefix: str, alt: str) -> Markup:
    """Curves over training; long ones are reduced to block means with a band from the lowest to the highest value."""
    with _style():
        figure, axes = _panel(4.2, 2.7)
        for line in lines:
            pairs = _pairs(line, positive=log)
            if not pairs:
                continue
            steps, mean, low, high = _blocks(pairs)
            colour = _ARMS[line.arm % ARM_COLOURS]
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
        _labels(axes, x_label, y_label)
        return _svg(figure, prefix, alt)


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
    with _style():
        figure, axes = _panel(4.2, 2.7)
        axes.axhline(1, color=_INK, linewidth=0.8)
        axes.plot(list(lowest), list(lowest.values()), color=_ARMS[0], linewidth=1.4)
        axes.plot([x for x, _ in points], [y for _, y in points], "o", color=_ARMS[0], alpha=0.7, markersize=5)
        axes.set_xticks(range(len(values)), [_shortened(value, 12) for value in values])
        reach = max([math.log(1.1), *(abs(math.log(ratio)) for _, ratio in points)]) * 1.1
        axes.set_yscale("log")
        axes.set_ylim(math.exp(-reach), math.exp(reach))
        axes.yaxis.set_major_locator(FixedLocator(_ratio_ticks(reach)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlim(-0.5, len(values) - 0.5)
        _labels(axes, x_label, y_label)
        return _svg(figure, prefix, alt)


def spans_decades(lines: Iterable[Curve], factor: float = 10.0) -> bool:
    """Whether positive curves range over more than `factor`, so that a log scale shows them better."""
    values = [finite(value) for line in lines for value in line.values]
    known = [value for value in values if value is not None]
    return bool(known) and min(known) > 0 and max(known) / min(known) > factor


def key_mark(arm: int, hollow: bool = False, dashed: bool | None = None) -> Markup:
    """A small sample of a mark (or, where `dashed` is given, of a line) for keys and table rows."""
    colour = f"var(--arm{arm % ARM_COLOURS})"
    if dashed is not None:
        pattern = ' stroke-dasharray="5 3"' if dashed else ""
        body = f'<path d="M1 7H23" stroke="{colour}" stroke-width="2.5"{pattern}/>'
        return Markup(f'<svg class="key" width="24" height="14" viewBox="0 0 24 14" aria-hidden="true">{body}</svg>')  # noqa: S704
    shapes = {
        "o": '<circle cx="7" cy="7" r="4.6"{}/>',
        "s": '<path d="M3 3H11V11H3Z"{}/>',
        "D": '<path d="M7 1.6L12.4 7L7 12.4L1.6 7Z"{}/>',
        "^": '<path d="M7 2L12 11H2Z"{}/>',
        "v": '<path d="M7 12L12 3H2Z"{}/>',
        "P": '<path d="M5 2H9V5H12V9H9V12H5V9H2V5H5Z"{}/>',
    }
    paint = f' fill="{"none" if hollow else colour}" stroke="{colour}" stroke-width="1.8"'
    body = shapes[_MARKERS[arm % ARM_COLOURS]].format(paint)
    return Markup(f'<svg class="key" width="14" height="14" viewBox="0 0 14 14" aria-hidden="true">{body}</svg>')  # noqa: S704


def _style() -> Any:
    return matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "sadm",
            "font.family": ["DejaVu Sans"],  # for measuring; the page's own font is put in afterwards
            "font.size": 9.5,
            "text.color": _INK,
            "axes.labelcolor": _INK,
            "axes.edgecolor": _RULE,
            "xtick.color": _RULE,
            "ytick.color": _RULE,
            "xtick.labelcolor": _INK,
            "ytick.labelcolor": _INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.formatter.useoffset": False,
            "grid.color": _RULE,
            "grid.linewidth": 0.6,
        }
    )


def _panel(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(True, axis="both")
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}".replace("-", "\N{MINUS SIGN}")))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}".replace("-", "\N{MINUS SIGN}")))
    axes.locator_params(axis="x", nbins=5)
    axes.locator_params(axis="y", nbins=6)
    return figure, axes


def _labels(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label, parse_math=False)
    axes.set_ylabel(y_label, parse_math=False)


def _set_apart(places: Sequence[float], gap: float = 11.0) -> list[float]:
    """Sideways shifts in points for marks that would hide one another (costs within 5 % of the largest), else 0."""
    close = 0.05 * max(places)
    groups = [[i for i, other in enumerate(places) if abs(other - place) <= close] for place in places]
    return [gap * (group.index(i) - (len(group) - 1) / 2) for i, group in enumerate(groups)]


def _draw_mark(axes: Axes, mark: Mark, shift: ScaledTranslation, upright: bool, level: float = 0.0) -> None:
    colour, shape = _ARMS[mark.arm % ARM_COLOURS], _MARKERS[mark.arm % ARM_COLOURS]
    transform = axes.transData + shift
    aside = (-5 / 72, 0.0) if upright else (0.0, -5 / 72)
    beside = transform + ScaledTranslation(aside[0], aside[1], axes.figure.dpi_scale_trans)

    def place(along: Sequence[float]) -> tuple[list[float], list[float]]:
        across = [mark.x if upright else level] * len(along)
        return (across, list(along)) if upright else (list(along), across)

    if mark.ends is not None:
        axes.plot(*place(mark.ends), color=colour, linewidth=1.6, transform=transform, solid_capstyle="butt")
        cap = "_" if upright else "|"
        axes.plot(*place(mark.ends), cap, color=colour, markersize=7, markeredgewidth=1.6, transform=transform)
    axes.plot(*place(mark.values), "o", color=colour, alpha=0.55, markersize=3, markeredgewidth=0, transform=beside)
    face = "none" if mark.hollow else colour
    axes.plot(*place([mark.mean]), shape, color=colour, markerfacecolor=face, markersize=7, markeredgewidth=1.6,
              transform=transform)  # fmt: skip


def _draw_row(axes: Axes, row: RatioRow, level: float) -> None:
    still = ScaledTranslation(0, 0, axes.figure.dpi_scale_trans)
    words = _shortened(f"{row.label}: {row.note}" if row.note and row.mark is None else row.label)
    transform, weight = axes.get_yaxis_transform(), "bold" if row.is_heading else "normal"
    place = level - 0.3 if row.is_heading else level + 0.22  # a heading stands nearer to what follows
    label = axes.text(
        0.02, place, words, transform=transform, va="bottom", fontsize=9, fontweight=weight, parse_math=False
    )
    label.set_in_layout(False)  # a long name must not squeeze the axes
    if row.is_heading:
        return
    axes.plot([1, 1], [level - 0.3, level + 0.2], color=_INK, linewidth=1.2)  # the line at 1 leaves room for the words
    if row.mark:
        _draw_mark(axes, row.mark, still, upright=False, level=level)


def _shortened(words: str, widest: int = 60) -> str:
    """Cuts a name that would leave the figure; a wide character counts as two."""
    widths = [2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in words]
    if sum(widths) <= widest:
        return words
    kept = int(np.searchsorted(np.cumsum(widths), widest - 1, side="right"))
    return words[:kept].rstrip() + "…"


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


def _svg(figure: Figure, prefix: str, alt: str) -> Markup:
    """The figure as an inline `<svg>`: the page's fonts and colours, ids beginning with `prefix`, `alt` as title."""
    buffer = io.StringIO()
    bare = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font"
        )  # measured only: the reader's font has them
        figure.savefig(buffer, format="svg", transparent=True, metadata=bare)
    text = buffer.getvalue()
    box = re.search(r'viewBox="([^"]*)"', text)
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"font-family: [^;\"]*;?\s*", "", body)
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'(?:xlink:)?href="#', f'href="#{prefix}-', body).replace("url(#", f"url(#{prefix}-")
    for colour, variable in [(_INK, "currentColor"), (_RULE, "var(--rule)"), ("#000000", "currentColor")]:
        body = body.replace(colour, variable)
    for index, colour in enumerate(_ARMS):
        body = body.replace(colour, f"var(--arm{index})")
    label = Markup.escape(alt)
    opening = f'<svg class="figure" role="img" aria-label="{label}" viewBox="{box.group(1) if box else ""}">'
    return Markup(f"{opening}<title>{label}</title>{body}</svg>")  # noqa: S704 - matplotlib escapes text, the rest is ours
