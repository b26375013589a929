"""``sadm finetune`` as typed: a model of digits goes to a folder of colour images with other classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from sadm.cli.main import run
from sadm.core.config import merge
from sadm.training.config import load_train_config
from sadm.training.description import model_spec
from sadm.training.finetuning import learning_rate
from sadm.training.run import read_run_config, train
from tiny import TINY

SHORT = ["--optimiser.steps=6", "--optimiser.batch=6", "--data.channels=1", "--log.samples=4"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> str:
    """A tiny model of digits."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    train(load_train_config(overrides=merge(TINY, {"signal": "none"})), folder)
    return str(folder)


def refused(capsys, *arguments: str) -> str:
    """Runs a command that must fail as the user's mistake, and returns what it said."""
    assert run(list(arguments)) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return " ".join(said.split())


def test_from_a_model_to_images_of_a_folder(digits: str, class_folder: Path, tmp_path: Path, capsys) -> None:
    out = str(tmp_path / "mine")
    command = ["finetune", "--from", digits, "--data", str(class_folder), "--out", out, "--method", "difffit", *SHORT]
    assert run(command) == 0
    said = capsys.readouterr()
    assert "difffit:" in said.out + said.err
    assert "(rows 0-1, drawn around the mean of the old classes)" in said.out + said.err
    config = read_run_config(out)
    assert config.finetune.method == "difffit"
    assert config.net.width == TINY["net"]["width"]
    assert not (Path(out) / "model" / "model.safetensors").exists()
    assert run(command) == 0  # it is finished
    assert "finished at step 6" in " ".join(capsys.readouterr().err.split())

    assert run(["sample", out, "--count", "3", "--out", str(tmp_path / "own")]) == 0
    assert run(["sample", digits, "--adapter", out, "--count", "3", "--out", str(tmp_path / "adapted")]) == 0
    merged = str(tmp_path / "merged")
    assert run(["convert", out, "--to", "merged", "--out", merged]) == 0
    assert run(["sample", merged, "--count", "3", "--out", str(tmp_path / "merged images")]) == 0
    grids = [Image.open(tmp_path / name / "grid.png") for name in ("own", "adapted", "merged images")]
    assert not any(ImageChops.difference(grids[0], other).getbbox() for other in grids[1:])
    assert json.loads((Path(merged) / "model.json").read_text())["merged"]["finetune"]["method"] == "difffit"


def test_colour_and_another_size_are_fitted_and_said(digits: str, class_folder: Path, tmp_path: Path, capsys) -> None:
    wanted = ["--data.channels=3", "--data.resolution=16", "--optimiser.steps=2", "--optimiser.batch=6"]
    out = str(tmp_path / "mine")
    assert run(["finetune", "--from", digits, "--data", str(class_folder), "--out", out, *wanted]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "mean over 1 channels, for 3" in said
    assert "places of 4x4 patches among the old 2x2" in said
    assert run(["sample", out, "--count", "2"]) == 0
    assert Image.open(Path(out) / "generated" / "000000-000000.png").size == (16, 16)


@pytest.mark.parametrize(
    ("left_out", "message"),
    [("--from", "--from is missing"), ("--data", "--data is missing"), ("--out", "--out is missing")],
)
def test_what_is_missing_is_said(digits: str, tmp_path: Path, capsys, left_out: str, message: str) -> None:
    given = {"--from": digits, "--data": "digits", "--out": str(tmp_path / "run")}
    words = [word for name, value in given.items() if name != left_out for word in (name, value)]
    assert message in refused(capsys, "finetune", *words)


def test_mistakes_are_said_and_leave_nothing_behind(digits: str, tmp_path: Path, capsys) -> None:
    out = str(tmp_path / "run")
    given = ["finetune", "--data", "digits", "--out", out]
    assert "unknown fine-tuning method 'lorra'" in refused(capsys, *given, "--from", digits, "--method", "lorra")
    assert "no model in nowhere" in refused(capsys, *given, "--from", "nowhere")
    few = refused(capsys, *given, "--from", digits, "--data.limit=12")
    assert "12 training images, fewer than a batch of 32" in few
    assert "net.width 16 there, 32 here" in refused(capsys, *given, "--from", digits, "--net.width=32")
    assert not (tmp_path / "run" / "model").exists()
    adapted = refused(capsys, "sample", digits, "--adapter", digits, "--count", "2")
    assert "holds a whole model" in adapted


def test_help_shows_what_a_fine_tuning_does_when_nothing_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["finetune", "--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "that the training starts from (2104.06820). (default: none)" in said
    assert "(default: 300)" in said


def test_the_learning_rate_is_that_of_the_method_however_it_was_typed(
    digits: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    (tmp_path / "file.yaml").write_text("finetune: {method: bitfit}\n")
    given = ["finetune", "--from", digits, "--data", "digits", "--data.limit=40", "--optimiser.steps=1", *SHORT[1:]]

    def found(name: str, *options: str) -> tuple[str, float]:
        assert run([*given, "--out", str(tmp_path / name), *options]) == 0
        config = read_run_config(tmp_path / name)
        return config.finetune.method, config.optimiser.learning_rate

    net = read_run_config(digits).net
    for name, options, method in (
        ("short", ["--method", "vpt"], "vpt"),
        ("long", ["--finetune.method=vpt"], "vpt"),
        ("both", ["--finetune.method", "vpt", "--method", "vpt"], "vpt"),
        ("file", ["--config", str(tmp_path / "file.yaml")], "bitfit"),
        ("over", ["--config", str(tmp_path / "file.yaml"), "--method", "adapter"], "adapter"),
    ):
        assert found(name, *options) == (method, learning_rate(method, net))
    said = refused(capsys, *given, "--out", str(tmp_path / "x"), "--method", "vpt", "--finetune.method=bitfit")
    assert "--method vpt and --finetune.method bitfit differ. Leave one out." in said


def test_images_of_a_model_that_draws_no_squares_keep_their_shape(tmp_path: Path, capsys) -> None:
    wide, source, out = tmp_path / "wide", str(tmp_path / "source"), str(tmp_path / "out")
    wide.mkdir()
    for i in range(30):
        Image.linear_gradient("L").rotate(12 * i).resize((16, 8)).save(wide / f"{i}.png")
    tiny = [
        "--net.patch=4",
        "--net.width=8",
        "--net.depth=1",
        "--net.heads=1",
        "--log.samples=0",
        "--optimiser.steps=2",
    ]
    assert run(["train", "--data", str(wide), "--out", source, "--signal=none", "--optimiser.batch=4", *tiny]) == 0
    command = ["finetune", "--from", source, "--data", str(wide), "--out", out, "--method=bitfit", "--log.samples=0"]
    assert run([*command, "--optimiser.steps=2", "--optimiser.batch=4"]) == 0
    assert read_run_config(out).data.resolution is None
    assert model_spec(out).shape == (1, 8, 16)
    assert "places of" not in " ".join(capsys.readouterr().err.split())  # positions were kept
