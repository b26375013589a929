"""Folders of paired trainings: begun with the same settings, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import paired
from sadm.experiments.config import CompareConfig
from sadm.training.config import load_train_config
from tiny import TINY


def config_of(arms: dict[str, Any], **change: Any) -> CompareConfig:
    train = load_train_config(overrides={**TINY, **change})
    return CompareConfig(train=train, arms={"plain": {"signal": "none"}, **arms}, seeds=[1, 2])


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    paired._write_config(config_of({"one": {"signal": "hidden"}}), tmp_path)
    before = (tmp_path / "compare.yaml").read_text()
    paired._write_config(config_of({"one": {"signal": "hidden"}, "two": {"signal": "labels"}}), tmp_path)  # one more
    assert (tmp_path / "compare.yaml").read_text() != before
    paired._write_config(config_of({"two": {"signal": "labels"}}), tmp_path)
    for other in (config_of({"two": {"signal": "hidden"}}), config_of({"three": {}}, optimiser={"steps": 9})):
        kept = (tmp_path / "compare.yaml").read_text()
        with pytest.raises(SystemExit, match="holds trainings with other settings; remove it"):
            paired._write_config(other, tmp_path)
        assert (tmp_path / "compare.yaml").read_text() == kept


@pytest.mark.parametrize(("cost", "expected"), [(1.0, "at the floor"), (1.1, "+10.0% (+5.0% to +20.0%)")])
def test_a_ratio_is_shown_with_its_interval(cost: float, expected: str) -> None:
    found = {"mean": cost, "low": 1.05, "high": 1.2} if cost > 1 else {"mean": None, "reason": "at the floor"}
    assert paired.with_interval(found) == expected
