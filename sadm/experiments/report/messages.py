"""Texts of the report by language: one table each, with the same keys."""

from __future__ import annotations

from typing import Any

from sadm.core.languages import in_language
from sadm.experiments.report import measured_texts
from sadm.experiments.report.english import ENGLISH
from sadm.experiments.report.japanese import JAPANESE, TERMS

MESSAGES = {"en": {**ENGLISH, **measured_texts.ENGLISH}, "ja": {**JAPANESE, **measured_texts.JAPANESE}}


def texts(lang: str) -> dict[str, str]:
    """All texts in a language; see `in_language`."""
    return in_language(MESSAGES, lang)


def term(text: Any, lang: str) -> str:
    """Translates a fixed English term that the comparison carries (a judge's title); anything else stays as it is."""
    return TERMS.get(str(text), str(text)) if lang == "ja" else str(text)
