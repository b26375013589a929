"""What people read on the page, by language: one table each, with the same keys."""

from __future__ import annotations

from sadm.core.languages import in_language
from sadm.studio.texts.english import ENGLISH
from sadm.studio.texts.japanese import JAPANESE

TEXTS = {"en": ENGLISH, "ja": JAPANESE}


def texts(lang: str) -> dict[str, str]:
    """All texts in a language; see `in_language`."""
    return in_language(TEXTS, lang)
