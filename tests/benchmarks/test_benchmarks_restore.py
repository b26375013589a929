"""The benchmark of restoration: its drawings, its damage, one case of it, and how its results are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.applications import page, restore, restore_page
from benchmarks.applications.drawings import SIDE, drawing, drawings
from sadm.applications.restoring import Injury
from sadm.cli.main import run
from sadm.data import ImageSet, to_floats

TINY = (
    "--signal=none --net.patch=8 --net.width=8 --net.depth=1 --net.heads=1 --optimiser.steps=2 --optimiser.batch=4 "
    "--sampling.steps=2 --log.samples=0 --data.tell=damage"
).split()


def test_drawings_are_dark_lines_on_paper_and_depend_on_seed_and_index_alone() -> None:
    few = drawings(6, 4)
    assert few.images.shape == (6, 1, SIDE, SIDE)
    assert torch.equal(few.images[5, 0], torch.from_numpy(drawing(5, 4)))
    assert len({image.numpy().tobytes() for image in [*few.images, *drawings(6, 5).images]}) == 12
    ink = (few.images < 128).double().mean((1, 2, 3))
    assert 0.02 < float(ink.min()) <= float(ink.max()) < 0.4
    assert int(few.images.median()) > 220


def test_the_report_has_seeds_of_its_own_and_one_model_for_known_and_unknown_damage() -> None:
    config = restore.training_config("drawings")
    assert min(config.seed, restore.TRAINING, restore.TEST) >= 100
    assert restore.TRAINING != restore.TEST
    assert config.data.tell == ("damage",)
    assert config.data.tell_dropout == 0.5


@pytest.mark.parametrize("kind", restore.UNKNOWN)
def test_every_image_is_harmed_in_its_own_way(kind: str) -> None:
    sound = to_floats(drawings(4, 4).images)
    harmed = restore.harm(sound, kind, 3)
    assert harmed.shape == sound.shape
    assert float(harmed.abs().max()) <= 1
    changed = (harmed != sound).flatten(1).any(1)
    assert bool(changed.all()) or kind == "all"
    assert torch.equal(restore.harm(sound[:2], kind, 3), harmed[:2])


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of a model that has learned nothing, on three drawings."""
    folder = tmp_path_factory.mktemp("restore")
    from sadm.core.grids import write_png

    for index, image in enumerate(drawings(6, 4).images):
        write_png(folder / "in" / f"{index}.png", image.permute(1, 2, 0).contiguous().numpy())
    assert run(["train", f"--data={folder / 'in'}", "--out", str(folder / "model"), *TINY]) == 0
    sound: ImageSet = drawings(3, 5)
    names = {"mask": Injury("mask"), "blur": Injury("blur", noise=0.02), "unknown-tear": Injury("unknown")}
    return {name: restore.measure_case(folder / "model", name, injury, sound) for name, injury in names.items()}


def test_a_case_compares_with_the_filters_that_suit_it(cases: dict[str, Any]) -> None:
    assert "wiener" in cases["blur"]["gains"]
    assert "levels" in cases["unknown-tear"]["gains"]
    for case in cases.values():
        assert len(case["gains"]["median"]["lines"]["values"]) == 3
        best = restore_page.best_filter(case, "features")
        assert case["methods"][best]["features"]["mean"] == min(
            case["methods"][name]["features"]["mean"] for name in case["gains"]
        )


def test_results_are_told_as_they_are(cases: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "restore.json"
    monkeypatch.setattr(restore_page, "result_path", lambda benchmark, name: path)
    assert restore_page.section() is None
    assert restore_page.summary() is None
    found = {
        "images": 3,
        "proposals": 4,
        "drawings": 6,
        "optimiser": {"steps": 2, "batch": 4},
        "cpu_seconds": {"training": 1.0, "restoring": 2.0},
        "cases": cases,
        "provenance": {"commit": "abc", "torch": "2", "machine": "one"},
    }
    path.write_text(json.dumps(found), encoding="utf-8")
    monkeypatch.setattr(restore_page, "stored", lambda benchmark, name: json.loads(path.read_text(encoding="utf-8")))
    text = restore_page.section() or ""
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) == 1 + len(cases)
    assert len({row.count("|") for row in rows}) == 1
    gain = cases["blur"]["gains"][restore_page.best_filter(cases["blur"], "psnr")]["psnr"]
    assert f"({gain['mean']:+.1f}, {gain['low']:+.1f} to {gain['high']:+.1f})" in text
    said = page.summary()["restore"]["blur"]["psnr"]["gain"]
    assert said["mean"] == pytest.approx(gain["mean"], rel=1e-3)
