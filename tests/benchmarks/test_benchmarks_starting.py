"""`benchmarks.starting`: both ways of the same model are drawn, kept, gathered and printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import common, starting
from sadm.training.config import TrainConfig

FLOOR = {"mlp": 0.5, "pixels": 0.25}


def part(*numbers: float) -> dict[str, Any]:
    ways = {way: {"mlp": value, "pixels": 2 * value} for way, value in zip(starting.WAYS, numbers, strict=True)}
    return {"excess": {"heun 49": ways}, "floor": FLOOR, "images": 300, "steps": 7}


def test_what_a_start_brings_is_a_ratio_over_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "ROOT", tmp_path)
    assert starting.section() is None
    found = starting.gathered([part(0.4, 0.2), part(0.8, 0.4)])
    common.store("starting", "8x8", {"seeds": [0, 1], **found, "provenance": {}})
    own = starting.summary()["8x8"]["heun 49"]["pixels"]
    assert (own["from the noise alone"], own["from sigma = inf"]) == (pytest.approx(1.2), pytest.approx(0.6))
    assert own["ratio"]["mean"] == pytest.approx(0.5)
    assert "| 8x8 | 2 | heun 49 | mlp | 0.6 | 0.3 | -50.0% (-50.0% to -50.0%) |" in (starting.section() or "")


def test_one_model_draws_both_ways_and_its_numbers_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig.model_validate(
        {
            "data": {"source": "digits", "limit": 40},
            "net": {"patch": 4, "width": 16, "depth": 1, "heads": 2},
            "optimiser": {"steps": 3, "batch": 8, "warmup_steps": 0},
            "device": "cpu",
        }
    )
    monkeypatch.setattr(starting, "recipe", lambda size: config)
    monkeypatch.setattr(starting, "SAMPLERS", (("heun", 3),))
    found = starting.drawings("8x8", tmp_path, 1)
    alone, begun = (found["excess"]["heun 3"][way]["pixels"] for way in starting.WAYS)
    assert alone != begun
    assert json.loads((tmp_path / "seed-1.json").read_text()) == found
    monkeypatch.delattr(starting, "recipe")  # it is not asked again
    assert starting.drawings("8x8", tmp_path, 1) == found
