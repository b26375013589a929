"""Sample images of a domain: strips of the picture that its comparison left."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sadm.core.grids import GAP
from sadm.experiments.poc.texts import poc_texts
from sadm.experiments.report.naming import arm_name
from sadm.experiments.summary import SAMPLES

_REAL, _DRAWN = 1, 3  # rows of real images, and of each arm's


def strips(folder: Path, facts: Mapping[str, Any], lang: str) -> list[tuple[str, str, str]]:
    """Title, data URI and alternative text of the real images and of each arm's; empty where there is no picture.

    Args:
        folder: of the proof of concept.
        facts: of the domain, as ``poc.json`` has them.
        lang: "en" or "ja".
    """
    path = folder / facts["name"] / SAMPLES
    if not path.exists():
        return []
    message, name = poc_texts(lang), facts["name"]
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGBA"))
    parts = [(message["real"], message["alt_real"].format(name=name), _REAL)]
    for arm in facts["drawn"]:
        title = arm_name(arm, lang)
        parts.append((title, message["alt_samples"].format(name=name, arm=title), _DRAWN))
    pitch = (len(pixels) + GAP) / sum(rows for *_, rows in parts)
    found, top = [], 0
    for title, alt, rows in parts:
        start, end = round(top * pitch), round((top + rows) * pitch) - GAP
        found.append((title, _uri(pixels[start:end]), alt))
        top += rows
    return found


def _uri(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
