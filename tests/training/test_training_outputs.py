"""Generated images as files: marked, listed, gone on with, and never mixed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sadm.core.errors import UserError
from sadm.core.marking import pixel_hash, read_mark
from sadm.training.config import DenoiserConfig, NetConfig, SamplingConfig
from sadm.training.model_folder import Model, load_model, model_hash, save_model
from sadm.training.outputs import RECORDS, generated_images, read_records
from sadm.training.spec import ModelSpec

ABOUT = {"seed": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = ModelSpec(
        (1, 8, 8), NetConfig(patch=4, width=8, depth=1, heads=1), 0.5, ("a", "b"), (1, 1), DenoiserConfig()
    )
    out = tmp_path_factory.mktemp("outputs") / "model"
    weights = spec.build().net.state_dict()
    save_model(out, spec, weights, SamplingConfig(steps=2), {"data": {"fingerprint": "f" * 64}})
    return out


@pytest.fixture
def model(folder: Path) -> Model:
    return load_model(folder)


def images(count: int) -> torch.Tensor:
    return torch.linspace(-1, 1, count * 64).view(count, 1, 8, 8)


def test_an_image_is_marked_with_its_model_data_and_seed(model: Model, folder: Path, tmp_path: Path) -> None:
    with generated_images(tmp_path, model, "sadm vary") as outputs:
        path = outputs.add("sub/a.png", images(1)[0], seed=17, label="b", edited=True, details={"strength": 0.5})
    mark = read_mark(path)
    assert mark is not None
    assert mark.model == model_hash(folder) == model.hash
    assert (mark.data, mark.seed, mark.label, mark.edited, mark.tool) == ("f" * 64, 17, "b", True, "sadm vary")
    with Image.open(path) as image:
        assert mark.pixels == pixel_hash(np.asarray(image)[..., None])
    record = {
        "file": "sub/a.png",
        "seed": 17,
        "label": "b",
        "edited": True,
        "details": {"strength": 0.5},
        "pixels": mark.pixels,
    }
    assert read_records(tmp_path) == {"sub/a.png": record}


def test_an_interrupted_folder_ends_as_one_that_ran_through(model: Model, tmp_path: Path) -> None:
    def draw(out: Path, until: int) -> list[str]:
        made = []
        with generated_images(out, model, "sadm augment", about=ABOUT) as outputs:
            for i, image in enumerate(images(5)[:until]):
                if not outputs.has(f"{i}.png"):
                    outputs.add(f"{i}.png", image, seed=i)
                    made.append(f"{i}.png")
        return made

    draw(tmp_path / "whole", 5)
    draw(tmp_path / "parts", 3)
    (tmp_path / "parts" / "2.png").unlink()  # as if the kill had come between the table and the disk
    with open(tmp_path / "parts" / RECORDS, "a", encoding="utf-8") as file:
        file.write('{"file": "3.pn')
    assert draw(tmp_path / "parts", 5) == ["2.png", "3.png", "4.png"]
    whole, parts = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("whole", "parts"))
    assert whole == parts
    assert len(whole) == 7


def test_other_images_are_not_mixed_in(model: Model, tmp_path: Path) -> None:
    with generated_images(tmp_path, model, "sadm augment", about=ABOUT) as outputs:
        outputs.add("0.png", images(1)[0], seed=0)
    with (
        pytest.raises(UserError, match=r"made otherwise \(another seed\)"),
        generated_images(tmp_path, model, "sadm augment", about={"seed": 4}),
    ):
        pass
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(UserError, match="not empty"), generated_images(tmp_path / "mine", model, "x", about=ABOUT):
        pass
    with pytest.raises(UserError, match="is a file"), generated_images(tmp_path / "mine" / "thesis.txt", model, "x"):
        pass


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "a.txt", "b/../../a.png"])
def test_names_stay_in_the_folder(name: str, model: Model, tmp_path: Path) -> None:
    with (
        generated_images(tmp_path / "out", model, "x") as outputs,
        pytest.raises(ValueError, match="within the folder"),
    ):
        outputs.add(name, images(1)[0], seed=0)


def test_a_damaged_table_is_named(model: Model, tmp_path: Path) -> None:
    (tmp_path / RECORDS).write_text('[1]\n{"file": "a.png"}\n')
    with pytest.raises(UserError, match=r"records\.jsonl, line 1.*Take that line out of the file, or restore it\.$"):
        generated_images(tmp_path, model, "x").__enter__()
    (tmp_path / RECORDS).write_text('{"file": 3}\n{"file": "a.png"}\n')
    with pytest.raises(UserError, match="the name of its file is 3; expected a text"):
        read_records(tmp_path)


def test_lines_say_what_marks_say(model: Model, tmp_path: Path) -> None:
    with generated_images(tmp_path, model, "x") as outputs:
        for i, image in enumerate(images(3)):
            outputs.add(f"{i}.png", (image * 127).to(torch.uint8), seed=i, details={"i": i})
    lines = [json.loads(line) for line in (tmp_path / RECORDS).read_text().splitlines()]
    assert [line["file"] for line in lines] == ["0.png", "1.png", "2.png"]
    for line in lines:
        mark = read_mark(tmp_path / line["file"])
        assert mark is not None
        assert (mark.seed, mark.details, mark.pixels) == (line["seed"], line["details"], line["pixels"])


def test_a_label_may_hold_any_character_that_ends_a_line_elsewhere(model: Model, tmp_path: Path) -> None:
    labels = [f"a{end}b" for end in ("\u2028", "\u2029", "\u0085", "\x0c", "\n", "\r")]
    with generated_images(tmp_path, model, "x") as outputs:
        for i, image in enumerate(images(len(labels))):
            outputs.add(f"{i}.png", image, seed=i, label=labels[i])
    assert [record["label"] for record in read_records(tmp_path).values()] == labels


def test_what_a_kill_left_half_written_goes_and_what_others_are_writing_stays(model: Model, tmp_path: Path) -> None:
    def left(folder: Path) -> set[str]:
        return {path.relative_to(folder).as_posix() for path in folder.rglob(".*.tmp")}

    ours, others = (
        (".000001.png.x1.tmp", ".records.jsonl.x2.tmp"),
        ("run/.model.x3.tmp", ".run.x4.tmp", "run/.a.png.x.tmp"),
    )
    for name in (*ours, *others):
        (tmp_path / "runs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "runs" / name).write_text("")
    for rest in ({*ours, *others}, {*others}):  # at first nothing says that it is a folder of ours
        with generated_images(tmp_path / "runs", model, "sadm sample") as outputs:
            assert left(tmp_path / "runs") == rest
            outputs.add("000000.png", images(1)[0], seed=0)
    for _ in range(2):
        with generated_images(tmp_path / "known", model, "sadm augment", about=ABOUT):
            assert left(tmp_path / "known") == set()
        (tmp_path / "known" / "images").mkdir(exist_ok=True)
        (tmp_path / "known" / "images" / ".a.png.x.tmp").write_text("")


def test_a_torn_line_does_not_take_the_next_one_with_it(model: Model, tmp_path: Path) -> None:
    with generated_images(tmp_path, model, "x") as outputs:
        outputs.add("0.png", images(1)[0], seed=0)
    with open(tmp_path / RECORDS, "a", encoding="utf-8") as file:
        file.write('{"file": "1.pn')
    with generated_images(tmp_path, model, "x") as outputs:
        outputs.add("2.png", images(1)[0], seed=2)
        assert set(read_records(tmp_path)) == {"0.png", "2.png"}  # as another kill would leave them


def test_an_image_is_the_one_that_is_wanted_if_its_mark_and_its_pixels_say_so(model: Model, tmp_path: Path) -> None:
    with generated_images(tmp_path, model, "x") as outputs:
        path = outputs.add("0.png", images(1)[0], seed=7, label="a", details={"scale": 0.1})
        mark = outputs.mark(7, "a", details={"scale": 0.1})
        assert outputs.holds("0.png", mark)
        assert not outputs.holds("1.png", mark)
        for change in ({"seed": 8}, {"label": "b"}, {"details": {"scale": 0.2}}, {"model": "0" * 64}, {"version": "0"}):
            assert not outputs.holds("0.png", dataclasses.replace(mark, **change))
        whole = path.read_bytes()
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
        assert not outputs.holds("0.png", mark)
        path.write_bytes(whole[:-30])
        assert not outputs.holds("0.png", mark)


def test_a_folder_that_can_not_be_written_is_refused_at_once(model: Model, open_folder: Path, ordinary_user) -> None:
    (open_folder / "out").mkdir(mode=0o555)
    model = dataclasses.replace(model, folder="")  # which lies where this user may not look
    with ordinary_user(), pytest.raises(UserError, match="cannot write .*out: permission denied"):
        generated_images(open_folder / "out", model, "x").__enter__()
