"""Generated images as files: marked, listed, gone on with, and never mixed."""

from __future__ import annotations

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
    with pytest.raises(UserError, match=r"records\.jsonl, line 1"), generated_images(tmp_path, model, "x"):
        pass


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
