"""`benchmarks.pairs_memory`: what it compares, and its page."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import pairs_memory
from sadm.training.config import TrainConfig


def test_arms_differ_in_adversary_and_memory_alone() -> None:
    config = pairs_memory.comparison()
    trained = {arm: config.arm_config(arm, 100) for arm in config.arms}
    assert trained.pop("plain").signal == "none"
    assert {(one.structure.adversary, one.structure.memory) for one in trained.values()} == {
        (adversary, memory) for adversary in ("frozen", "ascend") for memory in (0, 60, 240)
    }
    alike = [_without(one) for one in trained.values()]
    assert alike == alike[:1] * 6


def _without(config: TrainConfig) -> TrainConfig:
    return config.model_copy(
        update={"structure": config.structure.model_copy(update={"adversary": "frozen", "memory": 0})}
    )


def test_the_page_shows_gains_against_plain_training(monkeypatch: pytest.MonkeyPatch) -> None:
    ratio, none = {"mean": 0.9, "low": 0.8, "high": 1.0}, {"mean": None, "low": None, "high": None}
    rows = [
        {"arm": arm, "excess": {"a": [], "b": []}, "against_plain": {"a": ratio, "b": none}, "cpu_seconds": [3.0, 5.0]}
        for arm in ("plain", "frozen - memory 60")
    ]
    monkeypatch.setattr(pairs_memory, "stored", lambda *_: {"seeds": [100, 101], "rows": rows})
    monkeypatch.setattr(pairs_memory, "result_path", lambda *_: Path(__file__))
    text = pairs_memory.section()
    assert text is not None
    assert "| plain | 4 |  |  |" in text
    assert "| frozen - memory 60 | 4 | -10.0% (-20.0% to +0.0%) | at the floor |" in text
