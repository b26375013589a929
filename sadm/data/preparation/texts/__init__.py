"""What people read of a preparation, by language: one table each, with the same keys."""

from __future__ import annotations

from typing import Any

from sadm.core.languages import in_language
from sadm.data.preparation.texts.english import ENGLISH
from sadm.data.preparation.texts.japanese import JAPANESE

TEXTS = {"en": ENGLISH, "ja": JAPANESE}

_NAMES = 5  # of classes in a sentence


def texts(lang: str) -> dict[str, str]:
    """All texts in a language; see `in_language`."""
    return in_language(TEXTS, lang)


def sentence(lang: str, key: str, **values: Any) -> str:
    """A text with what goes into it: numbers grouped, long lists of names cut short, shares as per cent."""
    table = texts(lang)
    shown = {name: _shown(value, table) for name, value in values.items()}
    count = values.get("count")
    return table[f"{key}_one" if count == 1 and f"{key}_one" in table else key].format(**shown)


def _shown(value: Any, table: dict[str, str]) -> str:
    if isinstance(value, list | tuple):
        names = table["comma"].join(table["name"].format(name=name) for name in value[:_NAMES])
        more = len(value) - _NAMES
        return names + (table["and_more"].format(count=f"{more:,}") if more > 0 else "")
    if isinstance(value, float) and 0 <= value <= 1:
        return f"{100 * value:.0f}"
    if isinstance(value, int | float):
        return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
    return str(value)
