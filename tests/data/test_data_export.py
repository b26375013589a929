"""Image sets as files: what is written where, going on after an interruption, and folders that are left alone."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from exported import pixels_of, rows
from sadm.core.errors import InterruptedRun, UserError
from sadm.core.stopping import StopRequest
from sadm.data import ImageSet, Split, open_source
from sadm.data.export import class_folders, export, pick


def numbered(count: int, channels: int = 1, **known: object) -> ImageSet:
    """Images that differ, named n0, n1, …"""
    pixels = np.random.default_rng(count).integers(0, 256, (count, channels, 5, 7), dtype=np.uint8)
    given = {"labels": None, "class_names": (), "source": "numbered", **known}
    return ImageSet(images=torch.from_numpy(pixels), names=tuple(f"n{i}" for i in range(count)), **given)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_that_is_known_is_written(tmp_path: Path) -> None:
    masks = torch.zeros(3, 1, 5, 7, dtype=torch.uint8)
    masks[2, 0, 1, 3:5] = 255
    attributes = torch.tensor([[1 / 3, 2.0], [float("nan"), -1e-7], [1e20, 0.0]])
    images = numbered(
        3,
        channels=3,
        labels=torch.tensor([1, 0, 1]),
        class_names=("傷, あり", "T-shirt/top"),
        groups=("a", "b", 'part "7"'),
        parts=("train", "", "held_out"),
        attributes=attributes,
        attribute_names=("depth", "width"),
        masks=masks,
    )
    assert export([("", images)], tmp_path / "out") == tmp_path / "out" / "metadata.csv"
    found = rows(tmp_path / "out")
    assert list(found[0]) == ["file_name", "label", "group", "split", "mask", "depth", "width"]
    assert [row["file_name"] for row in found] == [
        "T-shirt_top/000000.png",
        "傷_ あり/000001.png",
        "T-shirt_top/000002.png",
    ]
    assert [row["label"] for row in found] == ["T-shirt/top", "傷, あり", "T-shirt/top"]
    assert [row["group"] for row in found] == ["a", "b", 'part "7"']
    assert [row["split"] for row in found] == ["train", "", "held_out"]
    assert [row["mask"] for row in found] == ["", "", "masks/T-shirt_top/000002.png"]
    assert found[1]["depth"] == ""
    for row, numbers in zip(found, attributes, strict=True):
        for name, number in zip(("depth", "width"), numbers, strict=True):
            assert row[name] == "" or np.float32(row[name]) == np.float32(number)
    for row, picture in zip(found, images.images, strict=True):
        assert np.array_equal(pixels_of(tmp_path / "out" / row["file_name"]), picture.permute(1, 2, 0).numpy())
    assert np.array_equal(pixels_of(tmp_path / "out" / found[2]["mask"]), masks[2, 0].numpy())
    assert json.loads((tmp_path / "out" / "export.json").read_text())["images"] == ["n0", "n1", "n2"]
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_little_is_known(tmp_path: Path) -> None:
    export([("", numbered(2))], tmp_path)
    assert (tmp_path / "metadata.csv").read_text() == "file_name\n000000.png\n000001.png\n"
    assert sorted(everything(tmp_path)) == ["000000.png", "000001.png", "export.json", "metadata.csv"]


def test_a_divided_source_keeps_its_division(tmp_path: Path) -> None:
    classes = {"labels": torch.tensor([0, 0]), "class_names": ("x",)}
    train, held_out = numbered(2, **classes), numbered(2, **classes, source="other")
    export(pick(Split(train, held_out), None), tmp_path)
    assert [row["split"] for row in rows(tmp_path)] == ["train", "train", "held_out", "held_out"]
    assert len({row["file_name"] for row in rows(tmp_path)}) == 4


@given(sizes=st.tuples(st.integers(2, 30), st.integers(2, 30)), count=st.integers(1, 70))
def test_a_pick_is_spread_evenly(sizes: tuple[int, int], count: int) -> None:
    parts = pick(Split(*(numbered(size) for size in sizes)), count)
    chosen = [sizes[0] * (part == "held_out") + int(name[1:]) for part, images in parts for name in images.names]
    total = sum(sizes)
    assert len(chosen) == min(count, total)
    assert chosen == sorted(set(chosen))
    gaps = np.diff([*chosen, chosen[0] + total])
    assert gaps.max() - gaps.min() <= 1


def test_a_count_below_one() -> None:
    with pytest.raises(UserError, match="--count is 0; expected at least 1"):
        pick(numbered(2), 0)


@given(st.lists(st.text(max_size=12), max_size=8, unique=True))
def test_class_folders_are_distinct_and_safe(names: list[str]) -> None:
    folders = class_folders(tuple(names))
    folded = [folder.casefold() for folder in folders]
    assert len(set(folded)) == len(names)
    assert "masks" not in folded
    for folder in folders:
        assert folder == folder.strip(" ") != ""
        assert not folder.startswith(".")
        assert not set(folder) & set('/\\:*?"<>|\0\n')


def test_class_folders_of_awkward_names() -> None:
    awkward = ("Masks", "a/b", "a:b", "..", "CON", "nul.x", "A_B", "ふつう", "x" * 300)
    assert class_folders(awkward) == ["Masks_2", "a_b", "a_b_2", "_", "CON_", "nul_.x", "A_B_3", "ふつう", "x" * 80]


def test_an_interrupted_export_goes_on(tmp_path: Path) -> None:
    images = numbered(7, labels=torch.arange(7) % 2, class_names=("a", "b"))
    export([("", images)], tmp_path / "whole")

    def die(done: int, total: int) -> None:
        assert total == 7
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export([("", images)], tmp_path / "out", die)
    assert sorted(everything(tmp_path / "out")) == ["a/000000.png", "a/000002.png", "b/000001.png", "export.json"]
    (tmp_path / "out" / "a" / ".000004.png.xyz.tmp").write_bytes(b"half")  # as a killed process leaves it
    before = (tmp_path / "out" / "a" / "000000.png").stat().st_mtime_ns
    export([("", images)], tmp_path / "out")
    assert everything(tmp_path / "out") == everything(tmp_path / "whole")
    assert (tmp_path / "out" / "a" / "000000.png").stat().st_mtime_ns == before  # not written twice


def test_ctrl_c_stops_between_images(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with (
        StopRequest() as stop,
        pytest.raises(InterruptedRun, match="Stopped after 4 of 6 images. To go on, run the same"),
    ):
        export([("", numbered(6))], tmp_path, interrupt, stop=lambda: stop.requested)
    assert sorted(everything(tmp_path)) == [*(f"{i:06d}.png" for i in range(4)), "export.json"]
    export([("", numbered(6))], tmp_path)
    assert len(rows(tmp_path)) == 6


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.png").write_bytes(b"mine")
    with pytest.raises(UserError, match="photos is not empty and holds no export. Choose another --out"):
        export([("", numbered(2))], tmp_path / "photos")
    assert everything(tmp_path / "photos") == {"mine.png": b"mine"}
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is a file; --out must be a folder"):
        export([("", numbered(2))], tmp_path / "file")


def test_another_export_is_left_alone(tmp_path: Path) -> None:
    masks = torch.zeros(3, 1, 5, 7, dtype=torch.uint8)
    export([("", numbered(3, masks=masks))], tmp_path)
    before = everything(tmp_path)
    for other, message in (
        (numbered(3, masks=masks, source="elsewhere"), "holds an export of 'numbered'. Choose another"),
        (numbered(4), "holds an export of other images"),
        (numbered(3, masks=masks + 255), "holds an export of other images"),
    ):
        with pytest.raises(UserError, match=message):
            export([("", other)], tmp_path)
    assert everything(tmp_path) == before


def test_a_full_disk_and_then_room(small_disk: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 1, 220, 220), dtype=np.uint8)  # 48 KB each, incompressible
    images = ImageSet(torch.from_numpy(pixels), None, (), tuple("abcdefgh"), "large")
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 100_000)
    with pytest.raises(UserError, match="the disk is full. Free some space and run the same command again"):
        export([("", images)], small_disk / "out")
    written = sorted((small_disk / "out").glob("*.png"))
    assert 1 <= len(written) < 8
    for path in written:
        assert np.array_equal(pixels_of(path), pixels[int(path.stem), 0])
    filler.unlink()
    with pytest.raises(UserError, match="the disk is full"):
        export([("", images)], small_disk / "out")
    assert len(list((small_disk / "out").glob("*.png"))) > len(written)


def test_what_was_written_reads_back_as_it_was(tmp_path: Path) -> None:
    images = open_source("surfaces:count=12,size=32,defects=0.7")
    assert isinstance(images, ImageSet)
    export([("", images)], tmp_path / "out")
    again = open_source(str(tmp_path / "out"))
    assert isinstance(again, ImageSet)
    order = torch.tensor([int(Path(name).stem) for name in again.names])  # files are numbered
    original = images.subset(order)
    assert (len(again), again.skipped, again.attribute_names) == (12, (), images.attribute_names)
    assert torch.equal(again.images, original.images)
    assert again.masks is not None
    assert original.masks is not None
    assert torch.equal(again.masks, original.masks)
    assert original.masks.any()
    assert again.attributes is not None
    assert original.attributes is not None
    assert torch.equal(again.attributes, original.attributes)
    assert again.labels is not None
    assert original.labels is not None
    assert [again.class_names[i] for i in again.labels.tolist()] == [
        original.class_names[i] for i in original.labels.tolist()
    ]
