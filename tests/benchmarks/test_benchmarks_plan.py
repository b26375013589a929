"""`benchmarks.plan` goes on where it stopped, and its page and summary hold what was measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.plan import measure, page


def pretended(recipe: str, arm: str) -> dict[str, Any]:
    return {
        "predicted": {"step_seconds": 0.22, "peak_mib": 380.0},
        "measured": {"step_seconds": 0.2, "peak_mib": 400.0},
    }


def test_rounds_are_kept_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "side_by_side", pretended)
    all_of_it = list(measure.measure({}, lambda text: None))
    assert len(all_of_it) == measure.ROUNDS * len(measure.RECIPES)
    found = all_of_it[-1]
    monkeypatch.setattr(measure, "side_by_side", lambda *_: pytest.fail("measured again"))
    assert not list(measure.measure(found, lambda text: None))
    summary = page.summary(found)
    assert summary["digits"]["plain"]["step_seconds"]["ratio"] == pytest.approx(1.1)
    assert summary["digits"]["structure"]["peak_mib"]["ratio"] == pytest.approx(0.95)
    monkeypatch.setattr(page, "stored", lambda *_: found)
    monkeypatch.setattr(page, "result_path", lambda *_: Path(__file__))
    text = page.section()
    assert text is not None
    assert "| digits | plain | 0.22 | 0.2 | 1.100 (1.100 to 1.100) | 380 | 400 | 0.950" in text
    assert "up to 3 rounds" in text


def test_a_process_that_fails_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(subprocess.CalledProcessError):
        measure.side_by_side("digits", "plain")
