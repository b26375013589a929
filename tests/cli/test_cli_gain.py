"""``sadm evaluate --downstream --representation``: from a folder to numbers; refusals; stopping."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sadm.training.measuring
from sadm.cli.gain_tables import downstream_table, representation_table, worth_sentence
from sadm.cli.main import run

SMALL = (
    "--net.patch=2 --net.width=16 --net.depth=1 --net.heads=2 --optimiser.steps=6 --optimiser.batch=6 --signal=none "
    "--sampling.steps=2 --log.samples=0 --data.held-out=0.4"
).split()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sadm.training.measuring, "steps_for", lambda images: 8)


def test_both_are_measured_stored_and_printed(
    class_folder: Path, tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run(["train", "--data", str(class_folder), "--out", str(out), *SMALL]) == 0
    capsys.readouterr()
    options = ["--groups", "1", "--downstream", "--classifiers", "2", "--representation"]
    assert run(["evaluate", str(out), *options, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == json.loads((out / "evaluation.json").read_text())
    downstream, representation = facts["downstream"], facts["representation"]
    assert downstream["training_images"] == 24
    assert downstream["held_out_images"] == representation["held_out_images"] == 5
    assert downstream["scores"]["with_2x"]["generated_images"] == 48
    assert downstream["classifier"]["steps"] == 8
    assert not (out / "downstream").exists()
    assert run(["evaluate", str(out), *options]) == 0
    printed = capsys.readouterr().out
    for line in (*downstream_table(downstream), *representation_table(representation)):
        assert line in printed
    assert worth_sentence(downstream).startswith("Whether the 24 generated images help can't be told.")
    assert "scratched" in printed


def test_what_is_kept_after_an_interruption_serves_the_same_command(
    class_folder: Path, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sadm.training.model_folder import Model

    out = tmp_path / "run"
    assert run(["train", "--data", str(class_folder), "--out", str(out), *SMALL]) == 0
    arguments = ["evaluate", str(out), "--groups", "1", "--downstream", "--classifiers", "1"]
    draw, calls = Model.sample_for_judging, []

    def interrupted(self: Model, *args: object) -> object:
        calls.append(args)
        if len(calls) == 2:  # the first one is for the judges
            raise KeyboardInterrupt
        return draw(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "sample_for_judging", interrupted)
    assert run(arguments) == 130
    assert "run the same command" in capsys.readouterr().err
    kept = {path.name: path.stat().st_mtime_ns for path in (out / "downstream" / "real").glob("real-*")}
    assert len(kept) == 4
    assert run(arguments) == 0
    assert not (out / "downstream").exists()


def test_a_model_without_classes_is_refused_before_anything_is_drawn(
    class_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run")
    assert run(["train", "--data", str(class_folder / "good"), "--out", out, *SMALL, "--data.held-out=0.7"]) == 0
    for option in ("--downstream", "--representation"):
        capsys.readouterr()
        assert run(["evaluate", out, option]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "has no labels, so no classifier can be trained on it" in said
        assert "Drawing" not in said
    assert run(["evaluate", out, "--classifiers", "0"]) == 2
    assert "--classifiers must be at least 1, got 0" in capsys.readouterr().err
