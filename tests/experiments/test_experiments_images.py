"""Comparisons and sweeps that go on in a folder: on the images that they were begun on, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_comparison import TINY, tiny

from sadm.core.config import build_config, write_yaml
from sadm.core.errors import UserError
from sadm.core.files import make_folder, write_json
from sadm.data import Split
from sadm.experiments.compare import compare
from sadm.experiments.config import Experiment
from sadm.experiments.images import HELD_OUT, IMAGES, TRAIN, checked_fingerprints
from sadm.experiments.sweep.config import SweepConfig
from sadm.experiments.sweep.running import sweep
from sadm.training.run import split_for

Command = Callable[..., Any]


@pytest.fixture(params=["comparison", "sweep"])
def begun(request: pytest.FixtureRequest, class_folder: Path, tmp_path: Path) -> tuple[Command, Any, Path]:
    """A command on a folder of images, its configuration, and the folder in which it was begun."""
    train = {**TINY["train"], "data": {"source": str(class_folder), "resolution": 8, "held_out": 0.6}}
    out = make_folder(tmp_path / "out")
    config: Experiment = tiny(train=train)
    if request.param == "sweep":
        vary = {"optimiser.learning_rate": [1e-3, 4e-3]}
        config = build_config(SweepConfig, {"train": train, "vary": vary, "seeds": [0], "groups": 1}, "sweep")
    write_yaml(out / config.FILE, config)
    return compare if request.param == "comparison" else sweep, config, out


def split_of(config: Experiment) -> Split:
    return split_for(config.train)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_images_that_have_changed_are_refused_and_nothing_is_written(begun: tuple[Command, Any, Path]) -> None:
    command, config, out = begun
    write_json(out / IMAGES, checked_fingerprints(out, config.KIND, split_of(config)))
    before = files(out)
    Image.new("RGB", (10, 10), "red").save(Path(config.train.data.source) / "good" / "00.png")
    with pytest.raises(
        UserError, match=rf"out holds a {config.KIND} on other images: the (training|held-out) images of"
    ):
        command(config, out)
    assert files(out) == before


def test_either_part_of_the_images_may_be_the_one_that_changed(begun: tuple[Command, Any, Path]) -> None:
    _, config, out = begun
    split = split_of(config)
    now = checked_fingerprints(out, config.KIND, split)
    for part, name in ((TRAIN, "training images"), (HELD_OUT, "held-out images")):
        write_json(out / IMAGES, {**now, part: "0" * 64})
        expected = rf"the {name} of .* have changed \(fingerprint 0{{12}}, now {now[part][:12]}\).*Restore the images"
        with pytest.raises(UserError, match=expected):
            checked_fingerprints(out, config.KIND, split)
    write_json(out / IMAGES, now)
    assert checked_fingerprints(out, config.KIND, split) == now


def test_a_folder_of_an_older_version_is_known_by_its_runs(begun: tuple[Command, Any, Path]) -> None:
    command, config, out = begun
    split = split_of(config)
    now = checked_fingerprints(out, config.KIND, split)
    write_json(out / "runs" / "a" / "run.json", {"finished": True, "data": {"fingerprint": now[TRAIN]}})
    assert checked_fingerprints(out, config.KIND, split) == now
    write_json(out / "runs" / "b" / "run.json", {"finished": False, "data": {"fingerprint": "f" * 64}})
    with pytest.raises(UserError, match="training images of .* have changed \\(fingerprint f{12}, now"):
        command(config, out)
    assert not (out / IMAGES).exists()
