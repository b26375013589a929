"""``sadm export``: sources become folders, by the real command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exported import pixels_of, rows
from sadm.cli.main import USER_ERROR, run
from sadm.data import ImageSet, open_source, surface

WORD = "surfaces:count=20,seed=3,size=32"


def test_surfaces_become_files_with_masks_and_attributes(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "my surfaces"
    assert run(["export", WORD, "--out", str(out), "--channels", "3"]) == 0
    assert capsys.readouterr().out == f"20 images and metadata.csv in {out}\n"
    found = rows(out)
    assert len(found) == 20
    for index, row in enumerate(found):
        made = surface(index, seed=3, size=32, channels=3)
        assert row["file_name"] == f"{made.defect}/{index:06d}.png"
        assert np.array_equal(pixels_of(out / row["file_name"]), made.image.transpose(1, 2, 0))
        assert row["label"] == made.defect
        assert row[f"material_{made.material}"] == "1"
        assert float(row["severity"]) == pytest.approx(made.severity)
        assert row["mask"] == ("" if made.defect == "good" else f"masks/{row['file_name']}")
        if row["mask"]:
            assert np.array_equal(pixels_of(out / row["mask"]), made.mask[0])


def test_class_folders_can_be_exported_smaller_and_fewer(class_folder: Path, tmp_path: Path) -> None:
    given = ["--count", "10", "--resolution", "5", "--channels", "1"]
    assert run(["export", str(class_folder), "--out", str(tmp_path / "out"), *given]) == 0
    opened = open_source(str(class_folder), resolution=5, channels=1)
    assert isinstance(opened, ImageSet)
    for position, row in enumerate(rows(tmp_path / "out")):
        assert row["label"] == ("good" if position < 5 else "scratched")
        assert np.array_equal(pixels_of(tmp_path / "out" / row["file_name"]), opened.images[4 * position, 0].numpy())


def test_the_same_command_twice_changes_nothing_and_another_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        assert run(["export", WORD, "--out", str(out)]) == 0
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert run(["export", WORD.replace("seed=3", "seed=4"), "--out", str(out)]) == USER_ERROR
    assert "holds an export of 'surfaces:count=20,seed=3,size=32'" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png")} == times


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["surfaces"], "--out is missing. See: sadm export --help"),
        (["surfaces:sise=32", "--out", "x"], "Did you mean 'size'"),
        (["nowhere", "--out", "x"], "'nowhere' is neither a built-in data set (digits, fashion-mnist, surfaces)"),
        ([WORD, "--out", "x", "--count", "0"], "--count is 0"),
        (["digits", "--out", "x", "--resolution", "0"], "--data.resolution is 0"),
        (["digits", "--out", "x.onnx", "--to", "onnx"], "--to onnx writes a model, and digits is no folder"),
        (["digits", "--out", "x", "--steps", "3"], "--steps are for a model"),
        ([".", "--out", "x", "--to", "diffusers"], "--to diffusers writes a model, and . holds none"),
    ],
)
def test_mistakes(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", *arguments]) == USER_ERROR
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert run(["export", WORD, "--out", str(tmp_path / "file" / "out")]) == USER_ERROR
    assert "a part of this path is a file, not a folder" in capsys.readouterr().err
