"""Texts of anybody in Markdown, as text and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sadm.core.terminal import printable

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$@:/^=])")


def inline(text: object) -> str:
    """A text within a line: no markup, link, HTML or further line comes of it."""
    one_line = " ".join(printable(text).split())
    safe = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    return _SPECIAL.sub(r"\\\1", safe)


def code(text: object) -> str:
    """A text within a line, as code: fenced by more backticks than it has in a row."""
    one_line = " ".join(printable(text).split())
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", one_line)), default=0))
    space = " " if one_line.startswith("`") or one_line.endswith("`") or not one_line else ""
    # Within a table, a bar ends the cell even in code.
    return f"{fence}{space}{one_line.replace('|', chr(0x2223))}{space}{fence}"


def block(lines: Iterable[str], language: str = "") -> str:
    """A block of code; what could end it is indented away."""
    inside = "\n".join(" ".join(printable(line).splitlines()) for line in lines)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", inside)), default=0))
    return f"{fence}{language}\n{inside}\n{fence}"


def table(rows: Iterable[Sequence[str]], heads: Sequence[str]) -> str:
    """A table of cells that are safe already."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def bullets(items: Iterable[object]) -> str:
    """A list of texts."""
    return "\n".join(f"- {inline(item)}" for item in items)
