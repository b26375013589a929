"""Earlier looks at new images, so that a trend can be seen."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from sadm.core.errors import UserError
from sadm.core.files import read_json, write_json

FILE = "history.json"


def date_of(text: str | None) -> str:
    """A date as YYYY-MM-DD; None = today.

    Raises:
        UserError: it is none.
    """
    if text is None:
        return datetime.date.today().isoformat()
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise UserError(f"--date is '{text}'; expected a date such as 2026-11-28.") from None


def remember(folder: Path, entry: dict[str, Any], dated: bool) -> list[dict[str, Any]]:
    """Adds a look at some images; an earlier one at the same images by the same model is replaced.

    Args:
        folder: where the history is.
        entry: ``date``, ``fingerprint`` of the images and ``model``, and what was found.
        dated: the user gave the date; else the first look's date stays.

    Returns:
        All looks, by date.

    Raises:
        UserError: the history is damaged or can't be written.
    """
    path = folder / FILE
    known = read_json(path) if path.exists() else []
    if not isinstance(known, list) or not all(isinstance(row, dict) and "date" in row for row in known):
        raise UserError(f"{path} holds no history of looks at new images. Move it away and run the same command again.")
    same = [row for row in known if all(row.get(key) == entry[key] for key in ("fingerprint", "model"))]
    if same and not dated:
        entry = entry | {"date": same[0]["date"]}
    looks = sorted([row for row in known if row not in same] + [entry], key=lambda row: str(row["date"]))
    write_json(path, looks)
    return looks
