from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sadm.cli.evaluate import METRICS
from sadm.cli.main import COMMANDS, run
from sadm.data import to_uint8
from sadm.data.imageset import to_floats
from sadm.evaluation import GaussianFit, frechet_distance, write_statistics
from sadm.training.config import recipe_names
from sadm.training.model_folder import load_model
from sadm.training.run import read_run_config

SMALL = (
    "--net.patch=2 --net.width=16 --net.depth=1 --net.heads=2 --optimiser.steps=6 --optimiser.batch=6 "
    "--structure.encoder-steps=4 --structure.encoder-width=4 --sampling.steps=2 --log.samples=4"
).split()


def refused(capsys, *arguments: str) -> str:
    """Runs a command that must fail as the user's mistake, and returns what it said."""
    try:
        code = run(list(arguments))
    except SystemExit as stop:  # the option parser's own refusals
        code = stop.code
    said = capsys.readouterr()
    assert code == 2
    assert "Traceback" not in said.err
    return " ".join(said.err.replace("│", " ").split())


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_explains_with_examples(name, capsys):
    with pytest.raises(SystemExit) as stop:
        run([name, "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "examples:" in said
    assert f"sadm {name}" in said


def test_help_is_quick_and_loads_no_torch():
    code = "import sys; from sadm.cli.main import run; run(['--help']); sys.exit('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    for name in COMMANDS:
        assert name in result.stdout


@pytest.mark.parametrize(
    "module", ["training.config", "training.data_config", "experiments.config", "finetuning.config"]
)
def test_configurations_load_no_torch(module):
    code = f"import sys, sadm.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_output_that_nobody_reads_on_is_no_mistake():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as nobody:
        result = subprocess.run(
            [sys.executable, "-m", "sadm", "--help"], stdout=nobody, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (result.returncode, result.stderr) == (0, "")


def test_from_a_folder_to_samples_and_a_judgement(class_folder: Path, tmp_path: Path, capsys):
    out = str(tmp_path / "run")
    assert run(["train", "--data", str(class_folder), "--out", out, "--data.held-out", "0.4", *SMALL]) == 0
    assert run(["sample", out, "--count", "5", "--label", "scratched"]) == 0
    images = sorted((tmp_path / "run" / "generated").iterdir())
    assert [path.name for path in images] == [*(f"000000-{i:06d}.png" for i in range(5)), "grid.png", "records.jsonl"]
    with Image.open(images[0]) as image:
        assert (image.size, image.mode) == ((10, 10), "RGB")
    capsys.readouterr()
    assert run(["evaluate", out, "--groups", "2", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert facts["judges"].keys() == facts["fd"].keys() == facts["floor"].keys() == {"mlp", "pixels", "random_conv"}
    assert facts["images"] == 2 * facts["group"] == 10
    assert run(["evaluate", out, "--groups", "2", "--full"]) == 0
    table = capsys.readouterr().out
    full = json.loads((tmp_path / "run" / "evaluation.json").read_text()).pop("full")
    assert full.keys() == {*facts["judges"], "spatial", "patches"}
    for metrics in full.values():
        for name, metric in metrics.items():
            assert f"{METRICS.get(name, name)} " in table
            assert metric["reason"] in table if "reason" in metric else f"{metric['value']:.4g}" in table


def test_samples_do_not_depend_on_how_many_are_drawn(tmp_path, capsys):
    out = str(tmp_path / "run")
    assert run(["train", "--data", "digits", "--out", out, *SMALL]) == 0
    assert run(["sample", out, "--count", "3", "--label", "4", "--out", str(tmp_path / "a")]) == 0
    assert run(["sample", out, "--count", "7", "--label", "4", "--out", str(tmp_path / "b")]) == 0
    for index in range(3):
        name = f"000000-{index:06d}.png"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe_is_valid(recipe, capsys):
    with pytest.raises(SystemExit) as stop:
        run(["train", "--recipe", recipe, "--help"])
    assert stop.value.code == 0


def test_missing_folder(capsys, tmp_path):
    said = refused(capsys, "train", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run"), *SMALL)
    assert "nowhere" in said
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_empty_folder(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(
        capsys, "train", "--data", str(tmp_path / "empty"), "--out", str(tmp_path / "run"), *SMALL
    )


def test_bad_files_are_listed_and_skipped_or_refused(capsys, tmp_path, class_folder):
    (class_folder / "good" / "notes.png").write_text("not an image")
    whole = (class_folder / "good" / "00.png").read_bytes()
    with Image.open(class_folder / "good" / "00.png") as image:
        image.resize((64, 64)).save(class_folder / "good" / "cut.jpg")
    data = (class_folder / "good" / "cut.jpg").read_bytes()
    (class_folder / "good" / "cut.jpg").write_bytes(data[: len(data) // 2])
    arguments = ["train", "--data", str(class_folder), "--out", str(tmp_path / "run"), *SMALL]
    assert whole
    said = refused(capsys, *arguments, "--strict")
    assert "notes.png" in said
    assert "cut.jpg" in said
    assert run(arguments) == 0
    said = capsys.readouterr().err
    assert f"Left out 2 of {class_folder}" in said
    assert "notes.png" in said
    assert "cut.jpg" in said


def test_one_image_only(capsys, tmp_path):
    (tmp_path / "one").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "one" / "a.png")
    said = refused(capsys, "train", "--data", str(tmp_path / "one"), "--out", str(tmp_path / "run"), *SMALL)
    assert str(tmp_path / "one") in said
    assert "at least" in said


def test_batch_of_one_with_structure(capsys, tmp_path):
    arguments = ["train", "--data", "digits", "--out", str(tmp_path / "run"), *SMALL, "--optimiser.batch", "1"]
    said = refused(capsys, *arguments)
    assert "optimiser.batch must be at least 2" in said
    assert run([*arguments, "--signal", "none"]) == 0


def test_unknown_key_in_a_file_names_the_nearest(capsys, tmp_path):
    (tmp_path / "c.yaml").write_text("optimiser:\n  learnin_rate: 0.1\n")
    said = refused(capsys, "train", "--config", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run"))
    assert "c.yaml" in said
    assert "unknown key 'optimiser.learnin_rate'; did you mean 'learning_rate'?" in said


def test_unknown_option_names_the_nearest(capsys, tmp_path):
    assert "--net.width" in refused(capsys, "train", "--out", str(tmp_path / "run"), "--net.wdith", "3")


def test_patch_that_does_not_divide(capsys, tmp_path):
    said = refused(capsys, "train", "--data", "digits", "--out", str(tmp_path / "run"), *SMALL, "--net.patch", "3")
    assert "8x8" in said
    assert "--net.patch" in said


def test_a_network_by_its_published_name(capsys, tmp_path):
    out, few = str(tmp_path / "run"), ["--recipe=digits", "--optimiser.steps=1", "--data.limit=40", "--signal=none"]
    few += ["--log.samples=2", "--sampling.steps=2"]
    said = refused(capsys, "train", "--out", out, *few, "--net.named", "DiT-S/4", "--net.width", "512")
    assert "net.named DiT-S/4 has a net.width of 384, got 512" in said
    assert "'DiT-XL/8'" in refused(capsys, "train", "--out", out, *few, "--net.named=DiT-S/3")
    assert run(["train", "--out", out, *few, "--net.named", "DiT-S/4", "--optimiser.batch=2"]) == 0
    net = read_run_config(Path(out)).net
    assert (net.named, net.patch, net.width, net.depth, net.heads) == ("DiT-S/4", 4, 384, 12, 6)
    sizes = ["--net.width=384", "--net.depth=12", "--net.heads=6"]  # the same network, by its numbers
    assert run(["train", "--out", f"{out}2", *few, *sizes, "--optimiser.batch=2", f"--start-from={out}"]) == 0


def test_another_run_in_the_folder(capsys, tmp_path):
    arguments = ["train", "--data", "digits", "--out", str(tmp_path / "run"), *SMALL]
    assert run(arguments) == 0
    assert "seed: stored 0, given 5" in refused(capsys, *arguments, "--seed", "5")


def test_full_disk(capsys, small_disk):
    arguments = ["train", "--data", "digits", "--out", str(small_disk / "run"), *SMALL, "--net.width", "128"]
    said = refused(capsys, *arguments)
    assert "disk is full" in said
    assert not list(small_disk.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian"], "did you mean 'train'?"),
        (["train", "--recipe", "digts", "--out", "x"], "unknown recipe 'digts'"),
        (["train", "--data", "digits"], "--out is missing"),
        (["train", "--out"], "--out needs a value"),
        (["sample", "nowhere-at-all"], "no model in nowhere-at-all"),
        (["evaluate", "nowhere-at-all"], "holds no run"),
        (["sample", "x", "--count", "0"], "--count must be at least 1"),
        (["train", "--config", "missing.yaml", "--out", "x"], "missing.yaml does not exist"),
        (["train", "--out", "x", "--structure.ratio", "1.5"], "less than 1"),
    ],
)
def test_mistakes_are_explained(arguments, expected, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert expected in refused(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_label_that_the_model_does_not_know(capsys, tmp_path):
    out = str(tmp_path / "run")
    assert run(["train", "--data", "digits", "--out", out, *SMALL]) == 0
    assert "there are 0, 1, 2" in refused(capsys, "sample", out, "--label", "cat")


def test_changed_images_are_not_judged(capsys, tmp_path, class_folder):
    out = str(tmp_path / "run")
    assert run(["train", "--data", str(class_folder), "--out", out, "--data.held-out", "0.4", *SMALL]) == 0
    (class_folder / "good" / "00.png").unlink()
    assert "held-out images could be training images" in refused(capsys, "evaluate", out)


def colours() -> nn.Module:
    """A judge of one's own."""
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(5), nn.Flatten(), nn.Linear(12, 3))


def test_a_judge_of_ones_own_and_published_statistics(class_folder: Path, tmp_path: Path, capsys):
    out, place = str(tmp_path / "run"), f"python:{__name__}:colours"
    assert run(["train", "--data", str(class_folder), "--out", out, "--data.held-out", "0.4", *SMALL]) == 0
    fit = GaussianFit(np.zeros(3), np.eye(3))
    write_statistics(tmp_path / "published.npz", fit)
    write_statistics(tmp_path / "longer.npz", GaussianFit(np.zeros(4), np.eye(4)))
    capsys.readouterr()
    given = ["evaluate", out, "--groups", "2", "--judges", place, "--reference", str(tmp_path / "published.npz")]
    assert run(given) == 0
    said, facts = capsys.readouterr().out, json.loads((tmp_path / "run" / "evaluation.json").read_text())
    model = load_model(out)
    with torch.no_grad():
        drawn = to_floats(to_uint8(model.sample(10, 0, model.training_labels(10, 0))))
        expected = frechet_distance(GaussianFit.of(colours()(drawn).double().numpy()), fit)
    assert facts["reference"]["fd"] == pytest.approx(expected, rel=1e-4)
    assert facts["reference"]["judge"] == place
    assert f"published.npz: FD {facts['reference']['fd']:.4g}, of 10 images" in said
    assert any((tmp_path / "run" / "features").iterdir())
    longer = refused(capsys, *given[:-1], str(tmp_path / "longer.npz"))
    assert "longer.npz" in longer
    assert "length" in longer
    assert "--judges inception" in refused(capsys, "evaluate", out, "--reference", str(tmp_path / "published.npz"))
    assert "nowhere.npz does not exist" in refused(capsys, *given[:-1], str(tmp_path / "nowhere.npz"))


def test_what_several_processes_can_do_together_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert run(["compare", "--out", "nowhere"]) == 2
    told = capsys.readouterr().err
    assert "torchrun has started 2 processes of 'compare'" in told
    assert "train and finetune" in told
    monkeypatch.setenv("RANK", "1")
    assert run(["compare", "--out", "nowhere"]) == 2
    assert capsys.readouterr().err == ""
