"""Texts in several languages: one table each, with the same keys."""

from __future__ import annotations

from collections.abc import Mapping

from sadm.core.errors import UserError


def in_language(tables: Mapping[str, dict[str, str]], lang: str) -> dict[str, str]:
    """All texts in a language.

    Args:
        tables: by language, such as "en".
        lang: the one that is wanted.

    Raises:
        UserError: there is no such language.
    """
    if lang not in tables:
        raise UserError(f"--lang is '{lang}'; expected one of {', '.join(tables)}.")
    return tables[lang]
