"""The report's page as tests read it."""

from __future__ import annotations

import functools
import re
from html.parser import HTMLParser

import numpy as np

from report_fixture import comparison, pictures, rich_comparison
from sadm.experiments.report import Pictures, render_report

LANGUAGES = ["en", "ja"]
OUTCOMES = ["better", "worse", "undecided", "mixed"]
VOID = {"meta", "img", "br", "hr", "link", "input"}
NOTHING = Pictures({}, np.zeros((0, 8, 8, 1), np.uint8))


class Page(HTMLParser):
    """Collects tags and text, and fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.words.append(data)

    def values(self, *names: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.tags for name in names if name in attributes]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def spaced(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


@functools.cache
def html_of(outcome: str = "better", lang: str = "en") -> str:
    return render_report(comparison(outcome), pictures(), lang)


@functools.cache
def rich_page(lang: str) -> Page:
    return Page(render_report(rich_comparison(), NOTHING, lang))
