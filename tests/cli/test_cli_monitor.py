"""``sadm monitor``: advice that fits what was planted, pages in both languages, a history, and mistakes that are explained."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
from pathlib import Path

import pytest
import torch
from test_cli import refused
from test_cli_audit import SMALL, Page

from sadm.cli.main import run
from sadm.core.errors import InterruptedRun
from sadm.core.grids import write_png
from sadm.core.progress import Silent
from sadm.data import ImageSet, load_split, open_source
from sadm.evaluation.drift.changes import changed
from sadm.experiments.monitoring import monitor_run, texts
from sadm.experiments.monitoring.texts import TEXTS

COUNT = ["--count", "40"]
ALL = load_split("digits", held_out=0.4)


def write(folder: Path, images: ImageSet, labelled: bool = True) -> Path:
    for i in range(len(images)):
        name = images.class_names[int(images.labels[i])] if labelled else ""
        write_png(folder / name / f"{i:04d}.png", images.images[i].permute(1, 2, 0).contiguous().numpy())
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Digits as class folders: some to train on, others that no model sees, and these after changes."""
    place = tmp_path_factory.mktemp("folders")
    order = torch.randperm(len(ALL.train), generator=torch.Generator().manual_seed(1))
    old, new = ALL.train.subset(order[:500]), ALL.train.subset(order[500:650])
    without = new.subset((new.labels < 9).nonzero().flatten())
    found = {
        "old": write(place / "old", old),
        "same": write(place / "same", new),
        "blurred": write(place / "blurred", changed(changed(new, "blurry", 1.0), "brighter", 0.2)),
        "flat": write(place / "flat", new, labelled=False),
        "few": write(place / "few", new.subset(torch.arange(5))),
        "other": write(place / "other", without),
    }
    shutil.copytree(found["other"] / "3", found["other"] / "scratch")
    shutil.rmtree(found["other"] / "3")
    (found["flat"] / "broken.png").write_bytes(b"no image")
    return found


@pytest.fixture(scope="module")
def trained(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on these folders that has learned next to nothing."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    assert run(["train", "--recipe", "digits", "--data", str(folders["old"]), "--out", str(out), *SMALL]) == 0
    return out


def looked(trained: Path, new: Path, *more: str, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert run(["monitor", str(trained), str(new), *COUNT, "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


def test_images_like_those_of_training_are_no_drift(trained, folders, capsys):
    found = looked(trained, folders["same"], capsys=capsys)
    assert found["advice"] == "keep"
    assert found["reasons"] == ["nothing"]
    assert found == json.loads((trained / "monitor" / "monitor.json").read_text(encoding="utf-8"))
    page = Page((trained / "monitor" / "monitor.html").read_text(encoding="utf-8"))
    assert (page.lang, page.outside) == ("en", [])
    assert len(page.alternatives) == 48
    assert all(page.alternatives)
    tests = found["drift"]["tests"]
    assert {"mlp", "pixels", "brightness", "classes", "support"} <= set(tests)
    assert "side" not in tests  # all files have one size: nothing to compare
    assert found["drift"]["would_have_been_seen"]["brighter"] is not None


def test_drift_is_named_and_followed_over_time(trained, folders, capsys, tmp_path):
    out = tmp_path / "looks"
    more = ["--out", str(out), "--lang", "ja"]
    first = looked(trained, folders["same"], *more, "--date", "2026-09-30", capsys=capsys)
    assert len(first["history"]) == 1
    second = looked(trained, folders["blurred"], *more, "--date", "2026-10-31", capsys=capsys)
    assert second["advice"] in ("watch", "retrain")
    assert second["drift"]["tests"]["sharpness"]["seen"]
    assert second["drift"]["tests"]["sharpness"]["facts"]["by_standard_deviations"] < 0
    assert [look["date"] for look in second["history"]] == ["2026-09-30", "2026-10-31"]
    again = looked(trained, folders["blurred"], *more, capsys=capsys)  # the date of the first look at them stays
    assert again["history"] == second["history"]
    text = (out / "monitor.html").read_text(encoding="utf-8")
    assert 'lang="ja"' in text
    assert texts("ja")["short_sharpness"] in text
    assert "<svg" in text
    assert not re.search(r"\{[a-z_]+\}", re.sub(r"(?s)<style>.*?</style>", "", text))
    assert run(shlex.split(second["commands"][0])[1:] + ([] if second["advice"] == "watch" else COUNT)) == 0


def test_new_classes_ask_for_training_anew_and_the_commands_do_it(trained, folders, capsys, tmp_path, monkeypatch):
    out = tmp_path / "looks"
    found = looked(trained, folders["other"], "--out", str(out), capsys=capsys)
    assert found["advice"] == "retrain"
    assert found["reasons"][0] == "new_classes"
    assert found["drift"]["new_classes"] == ["scratch"]
    assert found["drift"]["gone_classes"] == ["3", "9"]
    assert "scratch" in found["sentence"]
    together, train = (shlex.split(command) for command in found["commands"])
    assert run([*together[1:], *COUNT]) == 0
    assert "retrain.yaml" in capsys.readouterr().out
    joined = open_source(str(out / "together"))
    assert len(joined) == 500 + len(open_source(str(folders["other"])))
    assert joined.class_names == (*map(str, range(10)), "scratch")
    old = {int(key) for key in open_source(str(folders["old"])).keys}
    held = {int(key) for key, part in zip(joined.keys, joined.parts, strict=True) if part == "held_out"}
    original = {int(key) for key in load_split(str(folders["old"]), held_out=0.4).held_out.keys}
    assert held & old == original
    assert len(held - old) > 20
    assert run(train[1:]) == 0
    assert (Path(train[-1]) / "model").is_dir()
    shutil.rmtree(train[-1])


def test_unlabelled_unreadable_and_few_images(trained, folders, capsys, tmp_path):
    found = looked(trained, folders["flat"], "--out", str(tmp_path / "a"), capsys=capsys)
    assert (found["unreadable"], found["drift"]["labels_from"]) == (1, "predicted")
    assert not found["drift"]["new_classes"]
    few = looked(trained, folders["few"], "--out", str(tmp_path / "b"), capsys=capsys)
    assert few["advice"] == "watch"
    assert few["reasons"] == ["few"] or few["reasons"][-1] == "few"
    said = refused(
        capsys, "monitor", str(trained), str(folders["flat"]), "--together", *COUNT, "--out", str(tmp_path / "a")
    )
    assert "one folder for each class" in said


def test_generated_images_among_new_ones_are_found(trained, folders, capsys, tmp_path):
    drawn = tmp_path / "drawn"
    assert run(["sample", str(trained), "--count", "40", "--seed", "0", "--out", str(drawn)]) == 0
    mixed = tmp_path / "mixed"
    shutil.copytree(folders["flat"], mixed)
    for number, path in enumerate(sorted(drawn.rglob("*.png"))):
        if "grid" not in path.name:
            shutil.copy(path, mixed / f"drawn{number}.png")
    capsys.readouterr()
    found = looked(trained, mixed, "--out", str(tmp_path / "out"), capsys=capsys)
    assert "fed_back" in found["reasons"]
    assert found["copies"]["new"]["copied"] >= 35


def test_known_images_are_left_out_and_a_known_folder_is_refused(trained, folders, capsys, tmp_path):
    assert "no new images: of its 500 images" in refused(capsys, "monitor", str(trained), str(folders["old"]))
    mixed = tmp_path / "mixed"
    shutil.copytree(folders["same"], mixed)
    for path in sorted((folders["old"] / "0").iterdir())[:10]:
        shutil.copy(path, mixed / "0" / f"old{path.name}")
    found = looked(trained, mixed, "--out", str(tmp_path / "out"), capsys=capsys)
    assert found["known"]["training"] + found["known"]["held_out"] == 10
    assert found["drift"]["images"] == 150


class Stopper(Silent):
    """Asks for a stop after the first part, as Ctrl-C does."""

    def update(self, task, done, total, note=""):
        if task == "drawing images" and done == 16:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_stop_keeps_what_was_drawn(trained, folders, tmp_path):
    arguments = {"out": tmp_path, "count": 40, "device": "cpu"}
    with pytest.raises(InterruptedRun, match="16 of 40"):
        monitor_run(trained, str(folders["few"]), reporter=Stopper(), **arguments)
    written = (tmp_path / "drawn" / "00000000.safetensors").stat().st_mtime_ns
    monitor_run(trained, str(folders["few"]), **arguments)
    assert (tmp_path / "drawn" / "00000000.safetensors").stat().st_mtime_ns == written


def test_mistakes_are_explained(trained, folders, capsys, tmp_path):
    new = str(folders["same"])
    assert "holds no run" in refused(capsys, "monitor", str(tmp_path / "nowhere"), new)
    assert "no-such-folder" in refused(capsys, "monitor", str(trained), str(tmp_path / "no-such-folder"))
    assert "--count must be at least 2" in refused(capsys, "monitor", str(trained), new, "--count", "1")
    assert "such as 2026-11-28" in refused(capsys, "monitor", str(trained), new, "--date", "yesterday")
    assert "lies inside the new images" in refused(capsys, "monitor", str(trained), new, "--out", f"{new}/out")
    (tmp_path / "empty").mkdir()
    assert "no images" in refused(capsys, "monitor", str(trained), str(tmp_path / "empty"))
    (tmp_path / "looks").mkdir()
    (tmp_path / "looks" / "history.json").write_text('{"other": 1}')
    said = refused(capsys, "monitor", str(trained), str(folders["few"]), *COUNT, "--out", str(tmp_path / "looks"))
    assert "holds no history" in said


def test_all_languages_have_the_same_texts():
    assert all(set(table) == set(TEXTS["en"]) for table in TEXTS.values())
    for key, text in TEXTS["en"].items():
        assert set(re.findall(r"\{(\w+)\}", text)) == set(re.findall(r"\{(\w+)\}", TEXTS["ja"][key])), key
