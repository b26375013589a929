"""`benchmarks.applications` fills a class, goes on where it stopped, and its page and summary say what was found."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.applications import augment, augment_page, defects, page, restore_page
from benchmarks.applications.__main__ import PARTS

NAME = "augment-tiny"
TINY = augment.Case(
    "3",
    0.1,
    "20%",
    {
        "data": {"source": "digits", "held_out": 0.5},
        "net": {"patch": 4, "width": 16, "depth": 1, "heads": 2},
        "optimiser": {"steps": 4, "batch": 16},
    },
)


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder in place of that of the committed results, and the tiny case in place of the real ones."""
    cases = {NAME: TINY}

    def result_path(_: str, name: str) -> Path:
        return tmp_path / f"{name}.json"

    def store(_: str, name: str, value: Any) -> None:
        result_path(_, name).write_text(json.dumps(value, allow_nan=False))

    for module in (augment, augment_page, defects, page, restore_page):
        monkeypatch.setattr(module, "result_path", result_path)
    for module in (augment_page, page):
        monkeypatch.setattr(module, "stored", lambda _, name: json.loads(result_path(_, name).read_text()))
    for module in (augment, augment_page):
        monkeypatch.setattr(module, "CASES", cases)
    for module in (augment, defects):
        monkeypatch.setattr(module, "store", store)
        monkeypatch.setattr(module, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(augment, "CLASSIFIERS", 2)
    monkeypatch.setattr(augment, "CLASSIFIER_STEPS", 4)
    return tmp_path


def test_without_results_there_is_no_section_and_the_summary_says_so(results: Path) -> None:
    assert page.section() is None
    with pytest.raises(SystemExit, match="no stored result"):
        page.summary()


def test_a_tiny_case_is_kept_and_shown(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    augment.run_augment(NAME)
    stored = (results / f"{NAME}.json").read_text()
    monkeypatch.setattr(augment, "measure_augment", lambda name: pytest.fail("measured again"))
    augment.run_augment(NAME)
    found = json.loads(stored)
    filled = found["classes"][TINY.rare]
    assert [*found["classes"]] == [TINY.rare]
    assert filled["drawn"] <= augment.DRAWN_FOR_EACH * filled["missing"]
    assert filled["accepted"] + sum(filled["refused"].values()) == filled["drawn"]
    assert found["cpu_seconds"]["training"] > 0
    text, summary = page.section(), page.summary()[NAME]
    assert text is not None
    assert found["sentence"] in text
    assert f"{filled['real']} show '3'; {filled['missing']} are wanted" in text
    assert summary["filled"] == filled
    assert str(results) not in stored


def test_defects_come_from_paired_trainings_of_equal_cost(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = defects.generator_config

    def tiny(signal: str, seed: int = 100, steps: int = 8) -> Any:
        config = real(signal, seed, steps)
        net = config.net.model_copy(update={"width": 16, "depth": 1, "heads": 1})
        structure = config.structure.model_copy(update={"encoder_steps": 1, "encoder_width": 4, "encoder_batch": 8})
        optimiser = config.optimiser.model_copy(update={"batch": 8})
        return config.model_copy(update={"net": net, "structure": structure, "optimiser": optimiser})

    monkeypatch.setattr(defects, "SOURCE", "surfaces:count=100,size=16,material=metal,seed=11")
    monkeypatch.setattr(defects, "KEPT", 0.5)
    for name, value in {"DRAWN": 1, "COST_STEPS": 20, "DETECTOR_STEPS": 3, "SEEDS": range(100, 102)}.items():
        monkeypatch.setattr(defects, name, value)
    monkeypatch.setattr(defects, "generator_config", tiny)
    monkeypatch.setattr(defects, "relative", lambda path: path)
    defects.run_defects()
    found = json.loads((results / "defects.json").read_text())
    assert found["steps"]["plain"] == 8
    assert 1 <= found["steps"]["structure"] < 8
    assert found["added"] == {"plain": 5, "structure": 5, "pasted": 5}
    assert len(found["cpu_seconds"]["structure"]) == found["seeds"] == 2
    between = found["against"]["structure against plain"]["auroc"]
    arms = [found["arms"][arm]["auroc"]["values"] for arm in ("structure", "plain")]
    assert between["values"] == pytest.approx([a - b for a, b in zip(*arms, strict=True)])
    text = page.section()
    assert text is not None
    assert f"structure against plain: AUROC {between['mean']:+.3f}" in text
    assert page.summary()["defects"]["steps"] == found["steps"]
    monkeypatch.setattr(defects, "_equal_cost_steps", lambda *_: pytest.fail("measured again"))
    defects.run_defects()


def measured(**gain: float) -> dict[str, Any]:
    """What `measure_augment` gives where the generated images gain so much, and the controls nothing."""
    one, none = {"values": [], **gain}, {"mean": 0.0, "low": -0.01, "high": 0.01}
    scores = {"accuracy": {"mean": 0.8}, "recall": {"3": {"mean": 0.5}}, "precision": {"3": None}}
    arms = {arm: {**scores, "equal_precision": {"mean": 0.25}} for arm in augment_page.ARMS}
    return {
        "source": "digits",
        "rare": "3",
        "training_images": 1000,
        "classes": {"3": {"real": 10, "missing": 20, "drawn": 40, "accepted": 20, "refused": {"class": 20}}},
        "sentence": "The tool's words.",
        "measured": {
            "scores": arms,
            "gains": {arm: {"equal_precision": none, "accuracy": none} for arm in ("oversampled", "classical")}
            | {"generated": {"equal_precision": one, "accuracy": none}},
            "outcome": "helps",
            "seeds": 5,
            "held_out_images": 300,
            "held_out_of_class": {"3": 30},
        },
        "generator": {"steps": 800, "batch": 32},
        "cpu_seconds": {"training": 1.0, "rest": 2.0},
        "provenance": {"commit": "abc", "torch": "2", "machine": "m"},
    }


def test_gains_are_shown_in_points_with_their_intervals_and_those_against_us_too(results: Path) -> None:
    found = measured(mean=-0.0625, low=-0.125, high=-0.03)
    (results / f"{NAME}.json").write_text(json.dumps(found))
    text = page.section()
    assert text is not None
    assert "| + generated images | 0.800 | 0.500 | – | 0.250 | -6.2 (-12.5 to -3.0) |" in text
    assert "| real images alone | 0.800 | 0.500 | – | 0.250 | – |" in text
    assert page.summary()[NAME]["gains"]["generated"]["equal_precision"] == {
        "mean": -0.0625,
        "low": -0.125,
        "high": -0.03,
    }
    nothing = copy.deepcopy(found)
    del nothing["measured"]
    (results / f"{NAME}.json").write_text(json.dumps(nothing))
    text = page.section()
    assert text is not None
    assert "The tool's words." in text
    assert "| trained on |" not in text
    assert "gains" not in page.summary()[NAME]


def test_every_part_can_be_trained_and_begins_with_a_rare_class() -> None:
    assert set(augment.CASES) < set(PARTS)
    for case in augment.CASES.values():
        config = augment.generator_config(case)
        assert config.data.keep == {case.rare: case.kept}
        assert config.seed >= 100
    for signal in defects.ARMS.values():
        config = defects.generator_config(signal)
        assert config.signal == signal
        assert {*config.data.keep} == {*defects.DEFECTS}
        assert config.seed >= 100
