"""The table of the READMEs: the stored numbers, and a verdict by the rule of every comparison."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import front
from benchmarks.common import ROOT

UNDECIDED = (0.9, 0.7, 1.1)


def ratio(mean: float, low: float, high: float) -> dict[str, Any]:
    return {"mean": mean, "low": low, "high": high, "values": [mean] * 4}


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """By row the ratios of both judges, with 4 pairs each; rows without are not stored."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(front, "ratios", found.get)
    monkeypatch.setattr(front, "pairs", lambda name: 4)
    return found


@pytest.mark.parametrize(
    ("mlp", "pixels", "english", "japanese"),
    [
        ((0.8, 0.7, 0.9), (0.85, 0.75, 0.95), "**better**", "**優れている**"),
        ((1.2, 1.1, 1.3), (1.2, 1.1, 1.3), "**worse**", "**劣っている**"),
        ((0.8, 0.7, 0.9), (1.2, 1.1, 1.3), "better and worse", "評価器で異なる"),
        ((0.8, 0.7, 0.9), UNDECIDED, "cannot be told", "判断できない"),
    ],
)
def test_a_row_has_both_judges_and_the_verdict(
    rows: dict[str, Any], mlp: Any, pixels: Any, english: str, japanese: str
) -> None:
    rows["Z"] = {"mlp": ratio(*mlp), "pixels": ratio(*pixels), "random_conv": ratio(9, 8, 10)}
    _, _, line = front.table("en")
    assert line.startswith("| Fashion-MNIST, 8x8, AdamW | ")
    assert line.endswith(f" | 4 | {english} |")
    assert front.table("ja")[-1].endswith(f" | 4 | {japanese} |")
    rows["digits"] = rows["Z"]
    assert len(front.table("en")) == 4


def test_numbers_are_changes_in_percent(rows: dict[str, Any]) -> None:
    rows["Z"] = {"mlp": ratio(0.8, 0.7, 1.25), "pixels": {"mean": None, "reason": "at the floor"}}
    cells = [cell.strip().replace("\u00a0", " ") for cell in front.table("en")[-1].split("|")]
    assert cells[2:4] == ["−20 % (−30 % to +25 %)", "no ratio"]
    assert cells[5] == "cannot be told"


@pytest.mark.parametrize(("lang", "page"), [("en", "README.md"), ("ja", "README.ja.md")])
def test_the_readmes_hold_what_is_stored(lang: str, page: str) -> None:
    assert front.block(lang) in (ROOT / page).read_text("utf-8")
