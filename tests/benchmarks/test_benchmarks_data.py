"""The contestants of `benchmarks.data` give the same images, and its arithmetic."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from benchmarks.data import measure, page
from benchmarks.data.consumption import recipe_learner, shape_of
from benchmarks.data.loaders import BATCH, CLASSES, contestants, read_folder, write_folder
from sadm.training.config import load_train_config, recipe_names

TINY = measure.Effort(images=2 * BATCH, turns=3, slice_seconds=0.0, side=6)


def unordered(images: torch.Tensor, labels: torch.Tensor) -> list[tuple[int, bytes]]:
    """Labels and pixels of all images, whatever their order and whichever are mirrored."""
    return sorted(
        (int(label), min(x.numpy().tobytes(), x.flip(-1).contiguous().numpy().tobytes()))
        for x, label in zip(images, labels, strict=True)
    )


def test_all_contestants_show_each_image_once_a_pass(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    write_folder(tmp_path / "images", 2 * BATCH, 6)
    images = read_folder(tmp_path / "images")
    assert images.labels is not None
    assert images.shape == (3, 6, 6)
    expected = unordered(images.floats(), images.labels)
    for opening in contestants(images, tmp_path / "images", tmp_path / "cache"):
        loader = opening()
        batches = list(loader.passes())
        assert [len(x0) for x0, _ in batches] == [BATCH, BATCH]
        x0, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        assert unordered(x0, labels) == expected
        whole = {image.numpy().tobytes() for image in images.floats()}
        kept = sum(image.contiguous().numpy().tobytes() in whole for image in x0)
        assert BATCH / 2 < kept < 3 * BATCH / 2, loader.name  # about half of them are mirrored


def test_files_are_colour_images_in_class_folders(tmp_path: Path) -> None:
    write_folder(tmp_path, 10, 12)
    images = read_folder(tmp_path)
    assert (len(images), images.shape, images.num_classes) == (10, (3, 12, 12), CLASSES)
    assert len(images.images.flatten(1).unique(dim=0)) == 10


@pytest.mark.parametrize("recipe", recipe_names())
def test_a_recipe_is_timed_on_images_of_its_shape(recipe: str) -> None:
    config = load_train_config(recipe)
    channels, height, width = shape_of(config)
    assert height % config.net.patch == width % config.net.patch == 0
    assert channels == (config.data.channels or 1)


def test_a_recipes_learner_is_plain_and_advances() -> None:
    learner = recipe_learner("digits", {"data": {"workers": 1}})
    assert learner.signals == []
    assert measure.training_of(learner, steps=2)() == 2 * learner.config.optimiser.batch
    assert learner.step == 2
    learner.close()


def test_turns_go_round_and_back() -> None:
    calls: list[str] = []

    def work(name: str) -> int:
        calls.append(name)
        return 1

    found = measure.interleaved({"a": lambda: work("a"), "b": lambda: work("b")}, TINY)
    assert calls == ["a", "b", "a", "b", "b", "a", "a", "b"]
    assert {name: len(turns) for name, turns in found.items()} == {"a": 3, "b": 3}


def test_a_ratio_is_the_median_over_turns() -> None:
    assert measure.ratio([2.0, 3.0, 40.0], [1.0, 2.0, 4.0]) == 2.0


def test_it_prints_what_it_promises_and_the_page_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setattr(measure, "recipe_names", lambda: ["digits"])
    small = {"net": {"width": 16, "depth": 1}, "optimiser": {"batch": 4}}
    monkeypatch.setattr(measure, "TRAININGS", {"recipe `digits`": ("digits", small)})
    effort = dataclasses.replace(TINY, turns=1, larger=((9, 5),), trainings=True)
    found = json.loads(json.dumps(measure.measure(effort)))
    promised = (
        "images_per_second",
        "consumption_of_fastest_recipe",
        "ratio_to_datasets_loader",
        "ratio_to_consumption",
    )
    assert all(found[name] > 0 for name in promised)
    assert found["ratio_to_consumption"] == found["images_per_second"] / found["consumption_of_fastest_recipe"]
    assert found["fastest_recipe"] == "digits"
    assert found["read_images_per_second"].keys() == {"6", "9"}
    training = found["training_with_workers"]["recipe `digits`"]
    assert training["images_per_second"].keys() == {"0", "1", "2"}
    assert 0 < training["share_of_inputs"] < 1
    lines = page.table(found)
    assert sum(line.startswith("| datasets, ") for line in lines) == 2
    (head,) = [line for line in lines if "`data.workers` 0 | `data.workers` 1 | `data.workers` 2" in line]
    assert all(line.count("|") == head.count("|") for line in lines if line.startswith("| recipe"))


def test_nothing_stored_gives_no_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "result_names", lambda benchmark: [])
    assert page.section() is None
