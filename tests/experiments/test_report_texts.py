"""Texts and numbers of the report, in every language."""

from __future__ import annotations

import string
from importlib import resources

import pytest

from report_page import LANGUAGES, Page, html_of, spaced
from sadm.experiments.report.facts import in_words
from sadm.experiments.report.formatting import change, number
from sadm.experiments.report.messages import MESSAGES


def test_languages_have_the_same_keys_and_fields() -> None:
    english, *others = (MESSAGES[lang] for lang in LANGUAGES)
    for other in others:
        assert english.keys() == other.keys()
        for key, text in english.items():
            fields = [
                {name for _, name, _, _ in string.Formatter().parse(words) if name} for words in (text, other[key])
            ]
            assert fields[0] == fields[1], key
            assert other[key].strip(), key


def test_every_text_is_used() -> None:
    folder = resources.files("sadm.experiments.report")
    tables = ("english.py", "japanese.py", "measured_texts.py")
    files = [file for file in folder.iterdir() if file.name.endswith((".py", ".html.j2")) and file.name not in tables]
    sources = "".join(file.read_text(encoding="utf-8") for file in files)
    built = (
        "arm_",
        "at_",
        "audit_",
        "benefit_",
        "corruption_",
        "cost_clause_",
        "curves_",
        "data_",
        "decision_",
        "explain_",
        "gain_",
        "heading_",
        "meeting_",
        "mix_",
        "money_generation",
        "money_training",
        "money_year",
        "probe_",
        "protocol_",
        "provenance_",
        "risk_",
        "stopped_",
        "structure_",
        "subtitle_",
        "unit_",
        "unmeasured_",
        "verdict_",
        "worth_",
    )
    assert [key for key in MESSAGES["en"] if not key.startswith(built) and key not in sources] == []


def test_japanese_page_translates_fixed_terms() -> None:
    text = Page(html_of(lang="ja")).text
    assert "別の画像で学習した分類器" in text
    assert "classifier trained on other images" not in text
    assert MESSAGES["en"]["subtitle_sadm"] not in text


NUMBERS = {3.14159: "3.14", 0.0321: "0.0321", 301834: "301,834", 51.2: "51.2", 0: "0", -1.5: "−1.50", 2e-5: "2.0e−05"}


@pytest.mark.parametrize(("value", "shown"), [*NUMBERS.items(), (None, "–"), (float("inf"), "–"), (512.0, "512")])
def test_numbers(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_changes_and_ranges() -> None:
    assert [spaced(change(ratio)) for ratio in (0.81, 1.12, 1.0, 0.996)] == [
        "−19 %",
        "+12 %",
        "0 %",
        "−0.4 %",
    ]
    assert in_words([100, 101, 102, 103, 104], "en") == "100–104"
    assert in_words([100, 101, 103], "en") == "100, 101, 103"
