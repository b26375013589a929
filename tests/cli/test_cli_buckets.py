"""Images of three shapes from a folder to samples and figures, by the commands that people type."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sadm.cli.main import run
from sadm.data import to_floats, to_uint8
from sadm.data.resampling import resize_array
from sadm.evaluation import Evaluator
from sadm.training.model_folder import load_model
from sadm.training.run import read_run_config, split_for

TINY = (
    "--signal=hidden --net.patch=4 --net.width=16 --net.depth=1 --net.heads=2 --optimiser.steps=4 --optimiser.batch=4 "
    "--structure.encoder-steps=2 --structure.encoder-width=4 --structure.encoder-batch=4 --sampling.steps=2 --log.samples=4"
).split()
BUCKETS = ["--data.fit", "buckets", "--data.resolution", "32"]
SHAPES = {(24, 48), (32, 32), (48, 24)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of three aspects in two classes."""
    folder, draws = tmp_path_factory.mktemp("buckets") / "photos", np.random.default_rng(0)
    for i in range(36):
        size = [(60, 30), (40, 40), (30, 60)][i // 2 % 3]
        path = folder / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(draws.normal(80 + 90 * (i % 2), 40, (*size, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    return folder


@pytest.fixture(scope="module")
def trained(photos: Path) -> Path:
    out = photos.parent / "run"
    held_out = ["--data.held-out", "0.4"]
    assert run(["train", "--data", str(photos), "--out", str(out), *BUCKETS, *held_out, *TINY]) == 0
    return out


def sizes(folder: Path) -> list[tuple[int, int]]:
    found = []
    for path in sorted(folder.glob("0*.png")):
        with Image.open(path) as image:
            found.append(image.size)
    return found


def test_samples_come_in_the_shapes_of_training(trained: Path, tmp_path: Path) -> None:
    assert run(["sample", str(trained), "--count", "24", "--out", str(tmp_path / "all")]) == 0
    drawn = sizes(tmp_path / "all")
    assert len(drawn) == 24
    facts = json.loads((trained / "model" / "model.json").read_text())
    assert {(width, height) for height, width in facts["shapes"]} == set(drawn) <= SHAPES
    with Image.open(tmp_path / "all" / "grid.png") as grid:
        assert grid.mode == "RGBA"
        assert grid.size == (4 * 100 - 4, 6 * 100 - 4)  # cells of 48 x 48, enlarged to 96, 4 apart
    assert run(["sample", str(trained), "--count", "3", "--label", "a", "--out", str(tmp_path / "a")]) == 0
    assert run(["sample", str(trained), "--count", "3", "--size", "48x24", "--out", str(tmp_path / "wide")]) == 0
    assert sizes(tmp_path / "wide") == [(48, 24)] * 3


def test_a_size_that_training_did_not_see_is_said_and_a_wrong_one_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sample", str(trained), "--count", "1", "--size", "16X64", "--out", str(tmp_path)]) == 0
    assert sizes(tmp_path) == [(16, 64)]
    assert "Training saw no image of 16x64 pixels" in " ".join(capsys.readouterr().err.split())
    for size, message in (
        ("48", "--size is '48'; expected WIDTHxHEIGHT in pixels, such as 48x24."),
        ("0x24", "--size is '0x24'; expected WIDTHxHEIGHT"),
        ("30x24", "30x24 pixels were asked for, and can't be cut into patches of 4x4."),
    ):
        assert run(["sample", str(trained), "--size", size, "--out", str(tmp_path)]) == 2
        assert message in " ".join(capsys.readouterr().err.split())


def test_a_model_of_squares_draws_no_other_size(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run")
    assert run(["train", "--data", str(photos), "--out", out, "--data.resolution", "8", *TINY]) == 0
    assert run(["sample", out, "--size", "16x8"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "16x8 pixels were asked for, but this model draws images of 8x8 pixels alone. Leave the size out" in said


def test_they_are_judged_as_squares(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(trained), "--groups", "2", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["images"] == 2 * facts["group"]
    model, split = load_model(trained), split_for(read_run_config(trained))
    labels = model.training_labels(facts["images"], 0)
    squares = [
        resize_array(to_uint8(image)[None], (32, 32)) if image.shape[1:] != (32, 32) else to_uint8(image)[None]
        for image in model.sample_shapes(facts["images"], 0, labels)
    ]
    found = Evaluator(split.held_out).evaluate(to_floats(torch.cat(squares)), labels)
    assert found.fd == pytest.approx(facts["fd"], rel=1e-6)


def test_exported_and_prepared_folders_train(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "surfaces:count=8,size=48", "--out", str(tmp_path / "exported")]) == 0
    with Image.open(next((tmp_path / "exported" / "good").glob("*.png"))) as image:
        image.resize((96, 48)).save(image.filename)
    assert run(["prepare", str(photos), "--out", str(tmp_path / "prepared")]) == 0
    for source in ("exported", "prepared"):
        out = str(tmp_path / f"run of {source}")
        assert run(["train", "--data", str(tmp_path / source), "--out", out, *BUCKETS, *TINY]) == 0
        assert capsys.readouterr().err.count("Training images by shape (width x height): ") == 1
        shapes = json.loads((Path(out) / "model" / "model.json").read_text())["shapes"]
        assert {(width, height) for height, width in shapes} <= SHAPES
        assert len(shapes) > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--net.rope"], "and net.rope has angles for one grid of patches"),
        (["--net.patch", "3"], "sides of 8 pixels can't be cut into patches of 3x3 (net.patch)"),
        (["--data.autoencoder", "vae"], "data.autoencoder makes latents of one shape"),
        (
            ["--data.resolution", "30"],
            "--data.resolution is 30; aspect buckets need a multiple of --data.bucket-multiple (8)",
        ),
        (["--data", "digits"], "--data.fit buckets is for image files"),
    ],
)
def test_what_does_not_go_with_buckets_is_refused_before_anything_is_written(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    out = tmp_path / "run"
    arguments = ["train", "--data", str(photos), "--out", str(out), *BUCKETS, *TINY, *options]
    with contextlib.suppress(SystemExit):  # as the parser leaves
        assert run(arguments) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not out.exists()


def test_an_attribute_leaves_the_shapes_as_they_are(photos: Path, tmp_path: Path) -> None:
    rows = [
        f"{path.relative_to(photos)},{path.parent.name},{number % 5}"
        for number, path in enumerate(sorted(photos.rglob("*.png")))
    ]
    told = tmp_path / "told"
    shutil.copytree(photos, told)
    (told / "metadata.csv").write_text("\n".join(["file_name,label,bright", *rows, ""]))
    out = tmp_path / "run"
    words = ["--data.tell", "attributes", "--data.held-out", "0.4"]
    assert run(["train", "--data", str(told), "--out", str(out), *BUCKETS, *TINY, *words]) == 0
    count = ["--count", "24", "--label", "a"]
    assert run(["sample", str(out), *count, "--out", str(tmp_path / "plain")]) == 0
    assert run(["sample", str(out), *count, "--out", str(tmp_path / "told-more"), "--attribute", "bright=4"]) == 0
    assert set(sizes(tmp_path / "plain")) == SHAPES
    assert sizes(tmp_path / "told-more") == sizes(tmp_path / "plain")
    assert pixels_of(tmp_path / "told-more") != pixels_of(tmp_path / "plain")


def pixels_of(folder: Path) -> list[bytes]:
    found = []
    for path in sorted(folder.glob("0*.png")):
        with Image.open(path) as image:
            found.append(image.tobytes())
    return found
