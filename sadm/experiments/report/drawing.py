"""What all figures are drawn with: panels, marks, and SVG whose text stays text and whose colours follow the page.

Matplotlib draws with fixed colours; they are then replaced by the page's custom properties (`--arm0`, `--rule`) and
currentColor, so that one SVG is legible on a light and on a dark page, and on paper.
"""

from __future__ import annotations

import dataclasses
import io
import re
import unicodedata
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import ScaledTranslation

ARM_COLOURS = 6  # --arm0 … --arm5 in the style sheet; further arms begin again
INK, _RULE = "#010101", "#020202"  # stand-ins for the text's and the grid's colour
ARMS = [f"#0300{index:02x}" for index in range(ARM_COLOURS)]
_MARKERS = ("o", "s", "D", "^", "v", "P")  # so that an arm is known by its shape too


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


def style() -> Any:
    return matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "sadm",
            "font.family": ["DejaVu Sans"],  # for measuring; the page's own font is put in afterwards
            "font.size": 9.5,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": _RULE,
            "xtick.color": _RULE,
            "ytick.color": _RULE,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.formatter.useoffset": False,
            "grid.color": _RULE,
            "grid.linewidth": 0.6,
        }
    )


def panel(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(True, axis="both")
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}".replace("-", "\N{MINUS SIGN}")))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}".replace("-", "\N{MINUS SIGN}")))
    axes.locator_params(axis="x", nbins=5)
    axes.locator_params(axis="y", nbins=6)
    return figure, axes


def labels(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label, parse_math=False)
    axes.set_ylabel(y_label, parse_math=False)


def draw_mark(axes: Axes, mark: Mark, shift: ScaledTranslation, upright: bool, level: float = 0.0) -> None:
    colour, shape = ARMS[mark.arm % ARM_COLOURS], _MARKERS[mark.arm % ARM_COLOURS]
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


def shortened(words: str, widest: int = 60) -> str:
    """Cuts a name that would leave the figure; a wide character counts as two."""
    widths = [2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in words]
    if sum(widths) <= widest:
        return words
    kept = int(np.searchsorted(np.cumsum(widths), widest - 1, side="right"))
    return words[:kept].rstrip() + "…"


def svg(figure: Figure, prefix: str, alt: str) -> Markup:
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
    for colour, variable in [(INK, "currentColor"), (_RULE, "var(--rule)"), ("#000000", "currentColor")]:
        body = body.replace(colour, variable)
    for index, colour in enumerate(ARMS):
        body = body.replace(colour, f"var(--arm{index})")
    label = Markup.escape(alt)
    opening = f'<svg class="figure" role="img" aria-label="{label}" viewBox="{box.group(1) if box else ""}">'
    return Markup(f"{opening}<title>{label}</title>{body}</svg>")  # noqa: S704 - matplotlib escapes text, the rest is ours
