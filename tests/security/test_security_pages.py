"""Pages with hostile names: what people named stays text, in every language, also in drawings."""

from __future__ import annotations

import copy
import functools
from collections import Counter
from typing import Any

import pytest

from report_fixture import pictures, rich_comparison
from report_page import LANGUAGES, Page
from sadm.experiments.report import render_report

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{7*7}}{% raw %}",
    "</style></title><svg onload=alert(1)>",
    "$\\frac{1}{0}$ ]]> &lt;b&gt; \u202eabc",
)
NAMED = ("title", "source", "machine", "commit", "sampler", "reference", "rule", "label_sampling", "ema")
"""Keys of a comparison whose texts come from files, folders and options."""


def renamed(value: Any, text: str) -> Any:
    """A comparison in which people have named everything like that."""
    if isinstance(value, dict):
        found = {
            key: f"{part}{text}" if key in NAMED and isinstance(part, str) else renamed(part, text)
            for key, part in value.items()
        }
        if isinstance(found.get("classes"), list):
            found["classes"] = [f"{name}{text}" for name in found["classes"]]
        return found
    return [renamed(part, text) for part in value] if isinstance(value, list) else value


def elements(page: Page) -> Counter[tuple[str, tuple[str, ...]]]:
    """Every element of a page with the names of its attributes, and how often it is there."""
    return Counter((tag, tuple(sorted(attributes))) for tag, attributes in page.tags)


@functools.cache
def plain(lang: str) -> Page:
    """The page of names that are as they should be."""
    return Page(render_report(rich_comparison(), pictures(), lang))


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("text", HOSTILE)
def test_names_add_neither_elements_nor_attributes(text: str, lang: str) -> None:
    page = Page(render_report(renamed(copy.deepcopy(rich_comparison()), text), pictures(), lang))
    added = elements(page) - elements(plain(lang))
    assert {tag for (tag, _), _ in added.items()} <= {"tspan", "text", "br"}  # a longer text may be broken over lines
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all("javascript:" not in (value or "") for _, attributes in page.tags for value in attributes.values())
    # The names themselves are there, as text: nothing was tested otherwise, and nothing was computed from them.
    assert "digits" + " ".join(text.split()).split(" ")[0] in page.text
    assert "digits49" not in page.text
