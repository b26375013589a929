"""`sadm augment` on a model that learned a second: what is kept and why, layouts, interruptions, measurement, refusals."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sadm.applications.augment import FACTS, FILTERS, AugmentSettings, augment
from sadm.applications.augment.filling import AT_ONCE
from sadm.applications.augment.layout import has_class_folders, written_images
from sadm.applications.augment.opening import open_trained
from sadm.applications.augment.sentences import NOTHING, worth_sentence
from sadm.cli.main import run
from sadm.core.errors import InterruptedRun, UserError
from sadm.core.marking import GENERATED, read_mark
from sadm.core.progress import Silent
from sadm.data import ImageSet, load_split, open_source, to_uint8
from sadm.evaluation.memorisation import CopySearch
from sadm.training.model_folder import load_model
from sadm.training.outputs import read_records
from sadm.training.run import train
from tiny import tiny_config

COUNTS = {"above": 64, "below": 64, "both": 30}
SETTINGS = AugmentSettings("120", ("both",), most=3 * AT_ONCE, strictness=0.0, classifier_steps=20)
COMMAND = ["--target=120", "--classes", "both", "--draw-at-most=192", "--strictness=0", "--classifier-steps=20"]


def write_folder(folder: Path, seed: int = 0, side: int = 8) -> Path:
    """Grey images in class folders: bright above, below, or on both sides, in noise."""
    draws = np.random.default_rng(seed)
    for name, count in COUNTS.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = draws.normal(70, 25, (side, side))
            pixels[: side // 2] += 110 * (name != "below")
            pixels[side // 2 :] += 110 * (name != "above")
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{index:03d}.png")
    return folder


def trained_on(folder: Path, out: Path, **change: Any) -> Path:
    config = tiny_config(
        signal="none",
        data={"source": str(folder), "held_out": 0.4, **change},
        optimiser={"steps": 300, "batch": 16, "learning_rate": 3e-3},
        log={"samples": 0},
    )
    train(config, out)
    return out


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `images` and the run `run` on them."""
    folder = tmp_path_factory.mktemp("augment")
    trained_on(write_folder(folder / "images"), folder / "run")
    return folder


@pytest.fixture(scope="module")
def filled(trained: Path) -> Path:
    """What `SETTINGS` give."""
    augment(trained / "run", trained / "filled", SETTINGS, device="cpu")
    return trained / "filled"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def facts_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command says that must fail as the user's mistake."""
    assert run(list(arguments)) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return " ".join(said.split())


# ---- what is kept ----------------------------------------------------------------------------------------------------


def test_what_is_drawn_is_kept_or_refused_for_a_reason(filled: Path, trained: Path) -> None:
    found = facts_of(filled)
    both = found["classes"]["both"]
    assert list(found["classes"]) == ["both"]
    assert both["real"] == 18
    assert both["target"] == 120
    assert both["drawn"] == both["accepted"] + sum(both["refused"].values())
    assert both["drawn"] > AT_ONCE
    assert set(both["refused"]) == set(FILTERS)
    assert both["accepted"] == len(list((filled / "both").iterdir())) == len(read_records(filled)) > 10
    assert both["short"] == 102 - both["accepted"]
    assert found["model"] == load_model(trained / "run").hash


def test_each_image_says_where_it_comes_from(filled: Path, trained: Path) -> None:
    opened = open_trained(trained / "run", None, "cpu", Silent())
    records = read_records(filled)
    images = written_images(filled, opened.training)
    search = CopySearch(opened.training.floats()).nearest(images.floats())
    first = opened.model.sample(AT_ONCE, records[images.names[0]]["details"]["sequence"], torch.full((AT_ONCE,), 2))
    again = to_uint8(first)
    for row, name in enumerate(images.names):
        record, mark = records[name], read_mark(filled / name)
        details = record["details"]
        assert mark is not None
        assert (mark.source_type, mark.seed, mark.label, mark.model) == (
            GENERATED,
            record["seed"],
            "both",
            opened.model.hash,
        )
        assert details["nearest"] == opened.training.names[int(search.index[row])]
        assert details["distance"] == pytest.approx(float(search.distance[row]), abs=1e-5)
        assert 1 / 3 < details["class_probability"] <= 1
        assert 0 <= details["quality"] <= 1
        if details["index"] < AT_ONCE:
            assert torch.equal(images.images[row], again[details["index"]])
    assert len({record["seed"] for record in records.values()}) == len(records)


def test_a_class_that_falls_short_says_why(trained: Path, tmp_path: Path) -> None:
    found = augment(
        trained / "run", tmp_path / "few", AugmentSettings("largest", ("both",), most=10, classifier_steps=20)
    )
    both = found["classes"]["both"]
    assert (both["missing"], both["drawn"]) == (both["target"] - 18, 10)
    assert both["accepted"] == 10 - sum(both["refused"].values())
    (said,) = found["short"]
    short = both["missing"] - both["accepted"]
    assert said.startswith(f"'both' is short of {short} of {both['missing']} images: 10 were drawn, and of those ")
    for name in FILTERS:
        assert (f"{both['refused'][name]} " in said) >= bool(both["refused"][name])


# ---- layouts ---------------------------------------------------------------------------------------------------------


def test_class_folders_come_from_class_folders(filled: Path, trained: Path) -> None:
    opened = open_source(str(filled))
    assert isinstance(opened, ImageSet)
    assert opened.class_names == ("both",)
    assert len(opened) == facts_of(filled)["accepted"]
    assert not (filled / "metadata.csv").exists()
    assert not (filled / ".augment").exists()
    beside = trained / "beside"
    shutil.copytree(trained / "images", beside)
    shutil.copytree(filled, beside, dirs_exist_ok=True)
    both = open_source(str(beside))
    assert isinstance(both, ImageSet)
    assert both.class_names == tuple(COUNTS)
    assert len(both) == sum(COUNTS.values()) + len(opened)


def test_a_table_comes_from_a_table(filled: Path, trained: Path, tmp_path: Path) -> None:
    source = tmp_path / "exported"
    assert run(["export", str(trained / "images"), "--out", str(source)]) == 0
    assert has_class_folders(str(trained / "images"))
    assert not has_class_folders(str(source))
    assert not has_class_folders("digits")
    augment(trained / "run", tmp_path / "out", SETTINGS, data=str(source), device="cpu")
    ours, theirs = (
        {name: record["pixels"] for name, record in read_records(folder).items()}
        for folder in (tmp_path / "out", filled)
    )
    assert ours == theirs
    opened = open_source(str(tmp_path / "out"))
    assert isinstance(opened, ImageSet)
    assert opened.class_names == ("both",)
    assert set(opened.parts or ()) == {"train"}
    assert len(opened) == len(ours)


def test_with_real_images_it_is_a_whole_data_set(trained: Path, tmp_path: Path) -> None:
    settings = AugmentSettings("largest", most=20, strictness=0.0, classifier_steps=20, with_real=True)
    found = augment(trained / "run", tmp_path / "out", settings, device="cpu")
    real = open_trained(trained / "run", None, "cpu", Silent())
    split = load_split(str(tmp_path / "out"), held_out=0.4)
    assert split.train.class_names == real.training.class_names
    assert len(split.train) == len(real.training) + found["accepted"]
    assert sorted(split.held_out.keys.tolist()) == sorted(real.held_out.keys.tolist())
    assert set(real.training.keys.tolist()) <= set(split.train.keys.tolist())


# ---- interruptions ---------------------------------------------------------------------------------------------------


class Stopper(Silent):
    """Asks for a stop in the middle of a task, as Ctrl-C does."""

    def __init__(self, task: str, at: int) -> None:
        self.task, self.at = task, at

    def update(self, task: str, done: int, total: int, note: str = "") -> None:
        if task == self.task and done >= self.at:
            self.task = ""
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("task", "at", "said"),
    [("images of 'both'", 1, "Stopped after 64 images"), ("writing images", 5, "after writing 5")],
)
def test_an_interrupted_command_gives_the_same_folder(
    filled: Path, trained: Path, tmp_path: Path, task: str, at: int, said: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InterruptedRun, match=said):
        augment(trained / "run", out, SETTINGS, device="cpu", reporter=Stopper(task, at))
    assert not (out / FACTS).exists()
    augment(trained / "run", out, SETTINGS, device="cpu")
    assert contents(out) == contents(filled)


# ---- the command and the measurement ---------------------------------------------------------------------------------


def test_the_command_prints_counts_and_measures_what_is_there(
    filled: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(filled, out)
    command = ["augment", str(trained / "run"), "--out", str(out), *COMMAND]
    assert run(command) == 0
    said = capsys.readouterr().out
    both = facts_of(out)["classes"]["both"]
    row = next(line for line in said.splitlines() if line.startswith("both"))
    numbers = [both["real"], both["target"], both["drawn"], both["accepted"], *both["refused"].values()]
    assert row.split() == ["both", *map(str, numbers)]
    assert contents(out) == contents(filled)
    next((out / "both").iterdir()).unlink()  # somebody did not like it
    assert run([*command, "--measure", "--classifiers=2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == facts_of(out)
    assert found["measured"]["added"] == {"both": both["accepted"] - 1}
    assert set(found["measured"]["scores"]) == {"real", "generated", "oversampled", "classical"}
    assert found["measured"]["seeds"] == 2
    assert found["sentence"] == worth_sentence(found["measured"])
    assert not (out / ".augment").exists()
    shutil.rmtree(out / "both")
    assert run([*command, "--measure"]) == 0
    assert NOTHING in capsys.readouterr().out


def interval(mean: float, half: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - half, "high": mean + half}


@pytest.mark.parametrize(
    ("outcome", "beyond", "said"),
    [
        ("helps", 0.05, ["40 generated images help:", "+8.0 points (95 % interval +6.0 to +10.0)", "gain more than"]),
        ("helps", 0.01, ["help:", "not shown to gain more than what costs nothing: repeating real images gives +7.0"]),
        ("hurts", 0.0, ["40 generated images hurt:"]),
        ("not_shown", 0.0, ["are not shown to help:", "recall of 'rare' at equal precision"]),
    ],
)
def test_the_sentence_says_what_was_found(outcome: str, beyond: float, said: list[str]) -> None:
    gains = {"equal_precision": interval(0.08, 0.02), "accuracy": interval(0.01, 0.02)}
    control = {"equal_precision": interval(0.07, 0.02), "accuracy": interval(0.0, 0.02)}
    facts = {
        "classes": ["rare"],
        "added": {"rare": 40},
        "held_out_images": 300,
        "seeds": 5,
        "gains": {"generated": gains, "oversampled": control},
        "beyond": {"oversampled": {"equal_precision": interval(beyond, 0.02)}},
        "outcome": outcome,
    }
    sentence = worth_sentence(facts)
    for part in said:
        assert part in sentence
    assert ("costs nothing" in sentence) == (outcome == "helps" and beyond < 0.02)


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target=many"], "--target is 'many'; expected a number of images"),
        (["--target=0"], "--target is '0'; expected"),
        (["--target=150%"], "--target is '150%'; expected"),
        (["--target=10"], "the target is 10 images, and every class of"),
        (["--target=30", "--classes", "above"], "the class 'above' of"),
        (["--classes", "screw"], "--classes names 'screw', but"),
        (["--strictness=1"], "--strictness is 1.0; expected a share"),
        (["--draw-at-most=0"], "--draw-at-most is 0; expected at least 1"),
        (["--measure", "--classifiers=0"], "--classifiers is 0; expected at least 1"),
        (["--data=digits"], "draws the classes above, below, both; digits has 0, 1"),
    ],
)
def test_mistakes_are_explained(
    trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], said: str
) -> None:
    out = tmp_path / "out"
    assert said in refused(capsys, "augment", str(trained / "run"), "--out", str(out), *options)
    assert not out.exists()


def test_other_images_and_other_models_are_refused(
    trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model, out = str(trained / "run"), str(tmp_path / "out")
    larger, others = write_folder(tmp_path / "larger", side=12), write_folder(tmp_path / "others", seed=1)
    said = refused(capsys, "augment", model, "--data", str(larger), "--out", out)
    assert "draws images of 8x8 pixels with 1 channels; those of" in said
    assert "are not those that" in refused(capsys, "augment", model, "--data", str(others), "--out", out)
    assert "--out is missing" in refused(capsys, "augment", model)
    assert "holds no run" in refused(capsys, "augment", str(tmp_path), "--out", out)
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (trained / "images").rglob("*.png"):
        shutil.copyfile(path, flat / f"{path.parent.name}-{path.name}")
    train(tiny_config(signal="none", data={"source": str(flat)}, log={"samples": 0}), tmp_path / "unlabelled")
    assert "knows no classes" in refused(capsys, "augment", str(tmp_path / "unlabelled"), "--out", out)


def test_a_folder_of_something_else_is_refused(
    filled: Path, trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = ("augment", str(trained / "run"), *COMMAND)
    before = contents(trained / "images")
    assert "is not empty" in refused(capsys, *command, "--out", str(trained / "images"))
    assert contents(trained / "images") == before
    before = contents(filled)
    assert "made otherwise (another settings)" in refused(capsys, *command, "--seed=1", "--out", str(filled))
    assert contents(filled) == before


def test_shares_and_counts_are_targets() -> None:
    from sadm.applications.augment.settings import missing_images, target_count

    assert [target_count(text, 200) for text in ("largest", "30", "0.5", ".25", "50%", "1.0")] == [
        200,
        30,
        100,
        50,
        100,
        200,
    ]
    counts, names = [200, 0, 20, 100], ("a", "none", "b", "c")
    assert missing_images(counts, names, AugmentSettings("0.5"), "here") == {2: 80}
    assert missing_images(counts, names, AugmentSettings("largest", ("c",)), "here") == {3: 100}
    with pytest.raises(UserError, match="the class 'none' of here has no training image"):
        missing_images(counts, names, AugmentSettings(classes=("none",)), "here")
