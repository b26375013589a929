"""Two processes against one in float64: what `python -m benchmarks.parallel --quick` prints, and what the page says of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from benchmarks.parallel import page
from benchmarks.parallel.cases import all_cases, quick_cases, reference
from benchmarks.parallel.compare import compared, largest

BOUND = 1e-10


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return compared(quick_cases(), 2)


@pytest.mark.parametrize("number", range(len(quick_cases())), ids=[case.name for case in quick_cases()])
def test_two_processes_compute_what_one_does(rows: list[dict[str, Any]], number: int) -> None:
    differences = {name: value for name, value in rows[number].items() if name.endswith("_difference")}
    assert len(differences) == 4
    assert all(value < BOUND for value in differences.values()), differences


def test_something_was_compared(rows: list[dict[str, Any]]) -> None:
    """Sums in another order leave some last digit different; nothing but zeros would mean that nothing was compared."""
    found = largest(rows)
    assert 0 < found["weight_difference"] < BOUND
    assert 0 < found["player_difference"] < BOUND


def test_the_cases_cover_strategies_batches_clipping_and_pieces() -> None:
    cases = all_cases()
    assert len({case.name for case in cases}) == len(cases)
    assert {case.strategy for case in cases} == {"ddp", "fsdp", "hybrid"}
    assert {case.clip is None for case in cases} == {True, False}
    assert {case.batch % 2 for case in cases} == {0, 1}
    assert max(case.accumulate for case in cases) > 1
    assert all(reference(case).settings(1)["parallel"] == {"strategy": "ddp"} for case in cases)


def test_the_page_shows_the_worst_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    case = dataclasses.asdict(quick_cases()[0])
    differences = {f"{kind}_difference": 1e-15 for kind in ("loss", "gradient", "weight", "player")}
    made = [
        {"processes": 2, **case, "steps": 20, **differences, "weight_difference": value} for value in (2e-15, 7e-15)
    ]
    monkeypatch.setattr(page, "stored_rows", lambda: made)
    told = page.section()
    assert told is not None
    assert "| game, ascending | ddp | 1 | 2 | 1e-15 | 1e-15 | 7e-15 | 1e-15 |" in told
