"""Data sets of `datasets`: saved, from the hub's folder layout, streamed; images and labels as the library decodes them."""

from __future__ import annotations

import gc
import io
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sadm.core.errors import UserError
from sadm.data.sources import list_source
from sadm.data.sources.hub import _reachable
from source_files import class_of, picture, pixels, png, read, read_split, remarks

datasets = pytest.importorskip("datasets", reason="the package datasets is not installed (extra 'hub')")


def features(**more: Any) -> Any:
    return datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["傷", "良品", "unseen"]), **more)


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"image": {"bytes": png(first + i), "path": None}, "label": i % 2} for i in range(count)]


def data_set(count: int, first: int = 0) -> Any:
    return datasets.Dataset.from_list(rows(count, first), features=features())


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of the hub as a folder, which `datasets` opens by the same name; no network is tried."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "owner" / "name" / "data"
    folder.mkdir(parents=True)
    data_set(6).to_parquet(folder / "train-00000-of-00001.parquet")
    data_set(4, 6).to_parquet(folder / "test-00000-of-00001.parquet")
    return folder


# ---- saved on disk ---------------------------------------------------------------------------------------------------


def test_a_saved_data_set_is_what_the_library_decodes(tmp_path: Path) -> None:
    data_set(7).save_to_disk(tmp_path / "set")
    images = read(tmp_path / "set", strict=True)
    oracle = datasets.load_from_disk(str(tmp_path / "set"))
    for i, row in enumerate(oracle):
        assert np.array_equal(images.images[i].permute(1, 2, 0).numpy(), np.array(row["image"]))
        assert class_of(images)[f"rows/{i}"] == oracle.features["label"].int2str(row["label"])
    assert images.class_names == ("傷", "良品")
    assert "classes without a row are left out: 'unseen'" in remarks(images)


def test_splits_become_parts(tmp_path: Path) -> None:
    splits = {"train": data_set(4), "validation": data_set(2, 10), "test": data_set(2, 20), "extra": data_set(2, 30)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "set")
    split = read_split(tmp_path / "set")
    assert split.train.names == ("train/0", "train/1", "train/2", "train/3")
    assert split.held_out.names == ("validation/0", "validation/1", "test/0", "test/1")
    assert torch.equal(split.held_out.images, pixels(10, 11, 20, 21))
    assert "splits that name no part are left out: 'extra'" in remarks(split.train)
    assert len(read(tmp_path / "set" / "train")) == 4  # one split alone is divided by us
    datasets.DatasetDict({"a": data_set(2), "b": data_set(2)}).save_to_disk(tmp_path / "other")
    with pytest.raises(UserError, match=r"splits 'a', 'b'; expected one of them to be 'train'.*other/a\."):
        read(tmp_path / "other")


def test_shuffled_formatted_and_grey_data_sets(tmp_path: Path) -> None:
    grey = [picture(i).convert("L") for i in range(6)]
    loaded = datasets.Dataset.from_dict({"image": grey, "label": list("abcabc")}).cast_column("image", datasets.Image())
    loaded.shuffle(seed=1).with_format("numpy").save_to_disk(tmp_path / "set")
    images = read(tmp_path / "set")
    oracle = datasets.load_from_disk(str(tmp_path / "set")).with_format(None)
    assert images.shape == (1, 8, 8)
    assert list(class_of(images).values()) == oracle["label"][:]
    assert np.array_equal(images.images[3, 0].numpy(), np.array(oracle[3]["image"]))


def test_our_decoder_reads_the_bytes(tmp_path: Path) -> None:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6  # turn by 90 degrees to view
    upright = Image.new("L", (32, 16))
    upright.paste(255, (0, 0, 32, 8))
    upright.save(buffer, "JPEG", exif=exif, quality=95)
    table = datasets.Features(image=datasets.Image())
    broken = {"image": {"bytes": b"no image", "path": None}}
    turned = [{"image": {"bytes": buffer.getvalue(), "path": None}}] * 2
    datasets.Dataset.from_list([*turned, broken, {"image": None}], features=table).save_to_disk(tmp_path / "set")
    images = read(tmp_path / "set")
    assert images.shape == (1, 32, 16)
    assert images.images[0, 0, :, -1].float().mean() > 250
    assert [skip.path for skip in images.skipped] == ["rows/2", "rows/3"]
    assert [skip.reason[:20] for skip in images.skipped] == ["not an image: its co", "the row holds no ima"]


def masked(count: int) -> Any:
    """Rows of which every third has a mask."""
    white = io.BytesIO()
    Image.new("L", (8, 8), 255).save(white, "PNG")
    mask = {"bytes": white.getvalue(), "path": None}
    values = [dict(row, mask=None if i % 3 else mask) for i, row in enumerate(rows(count))]
    return datasets.Dataset.from_list(values, features=features(mask=datasets.Image()))


def test_an_empty_cell_of_masks_is_no_mask(tmp_path: Path, hub_folder: Path) -> None:
    masked(40).select(range(39, 2, -1)).save_to_disk(tmp_path / "set")
    masked(6).to_parquet(hub_folder / "train-00000-of-00001.parquet")
    masked(4).to_parquet(hub_folder / "test-00000-of-00001.parquet")
    for source, first in ((tmp_path / "set", range(39, 2, -1)), ("hub:owner/name@train?rows=5", range(5))):
        images = read(source, strict=True)
        assert images.masks is not None
        assert [bool(mask.all()) for mask in images.masks] == [i % 3 == 0 for i in first]
        assert [bool(mask.any()) for mask in images.masks] == [i % 3 == 0 for i in first]


def test_every_column_that_means_something(tmp_path: Path) -> None:
    mask = {"bytes": png(9), "path": None}
    more = {"mask": datasets.Image(), "group": datasets.Value("int64"), "depth": datasets.Value("float32")}
    more |= {"caption": datasets.Value("string"), "box": datasets.Sequence(datasets.Value("int64"))}
    values = [dict(row, mask=mask, group=i // 2, depth=i / 4, caption="x", box=[1]) for i, row in enumerate(rows(4))]
    datasets.Dataset.from_list(values, features=features(**more)).save_to_disk(tmp_path / "set")
    listing = list_source(str(tmp_path / "set"))
    assert listing is not None
    assert [record.group for record in listing.records] == ["0", "0", "1", "1"]
    assert [record.attributes for record in listing.records] == [{"depth": i / 4} for i in range(4)]
    assert all(callable(record.mask) and record.mask() == png(9) for record in listing.records)
    assert any("left out: 'caption', 'box'" in note.text for note in listing.notes)


def test_columns_are_named_where_several_could_be_meant(tmp_path: Path) -> None:
    kinds = datasets.Features(
        left=datasets.Image(),
        right=datasets.Image(),
        fine=datasets.ClassLabel(names=["a", "b"]),
        coarse=datasets.ClassLabel(names=["x"]),
    )
    values = [{"left": {"bytes": png(i)}, "right": {"bytes": png(9 + i)}, "fine": i % 2, "coarse": 0} for i in range(4)]
    source = str(tmp_path / "set")
    datasets.Dataset.from_list(values, features=kinds).save_to_disk(source)
    with pytest.raises(UserError, match=r"several columns hold images \('left', 'right'\).*set\?image=left\."):
        read(source)
    with pytest.raises(UserError, match=r"'fine', 'coarse' all hold classes.*set\?image=left&label=fine\."):
        read(f"{source}?image=left")
    images = read(f"{source}?image=right&label=fine&rows=3")
    assert torch.equal(images.images, pixels(9, 10, 11))
    assert images.class_names == ("a", "b")
    for option in ("image", "label"):
        with pytest.raises(UserError, match=rf"no column 'x' to take {option}s from; there are 'left'|'right'"):
            read(f"{source}?image=left&{option}=x")


def test_threads_read_one_data_set(tmp_path: Path) -> None:
    data_set(200).save_to_disk(tmp_path / "set")
    listing = list_source(str(tmp_path / "set"))
    assert listing is not None
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda record: record.content(), listing.records))  # type: ignore[operator]
    assert found == [png(i) for i in range(200)]


def test_data_sets_that_cannot_be_used(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["a", "b"]}).save_to_disk(tmp_path / "text")
    with pytest.raises(UserError, match=r"no column holds images \('text'\).*text\?image=NAME"):
        read(tmp_path / "text")
    unlabelled = [dict(row, label=-1 if i else 0) for i, row in enumerate(rows(3))]
    datasets.Dataset.from_list(unlabelled, features=features()).save_to_disk(tmp_path / "unlabelled")
    with pytest.raises(UserError, match=r"unlabelled \(rows\): row 1 \(and 1 more\) has no 'label'"):
        read(tmp_path / "unlabelled")
    secret = datasets.Dataset.from_list([dict(row, label=-1) for row in rows(3)], features=features())
    datasets.DatasetDict({"train": data_set(4), "test": secret}).save_to_disk(tmp_path / "secret")
    with pytest.raises(
        UserError, match=r"'train' has labels, 'test' has none\. Give the labelled part alone: .*secret/train"
    ):
        read(tmp_path / "secret")
    data_set(2).save_to_disk(tmp_path / "damaged")
    next((tmp_path / "damaged").glob("*.arrow")).write_bytes(b"ARROW1")
    with pytest.raises(UserError, match=r"damaged cannot be read as a saved data set .*Save it again"):
        read(tmp_path / "damaged")


# ---- the hub ---------------------------------------------------------------------------------------------------------


def test_a_data_set_of_the_hub_by_name(hub_folder: Path) -> None:
    split = read_split("hub:owner/name", strict=True)
    assert torch.equal(split.train.images, pixels(*range(6)))
    assert torch.equal(split.held_out.images, pixels(*range(6, 10)))
    assert split.train.source == "hub:owner/name"
    assert class_of(split.held_out)["test/1"] == "良品"
    assert read("hub:owner/name@test").names == tuple(f"test/{i}" for i in range(4))


def test_the_first_rows_are_streamed(hub_folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    listing = list_source("hub:owner/name?rows=3", lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)] * 2
    assert listing is not None
    assert [record.name for record in listing.records] == [
        f"{part}/{i}" for part in ("train", "test") for i in range(3)
    ]
    assert [record.content() for record in listing.records] == [png(i) for i in (0, 1, 2, 6, 7, 8)]  # type: ignore[operator]
    assert not list((hub_folder.parents[2] / "cache").rglob("*.arrow"))  # nothing was copied
    assert torch.equal(read("hub:owner/name@train?rows=4").images, pixels(0, 1, 2, 3))


def test_streamed_images_outlive_nothing(hub_folder: Path) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    read("hub:owner/name@train?rows=4")
    gc.collect()
    before = open_files()
    listing = list_source("hub:owner/name@train?rows=4")
    assert open_files() > before
    del listing
    gc.collect()
    assert open_files() == before


def test_shards_and_linked_images_of_the_hub_are_streamed(hub_folder: Path) -> None:
    folder = hub_folder.parents[1] / "linked" / "train"
    for i, label in enumerate("aab"):
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"{i}.png").write_bytes(png(i))
    images = read("hub:owner/linked?rows=3")  # cells hold paths, no bytes
    assert torch.equal(images.images, pixels(0, 1, 2))
    assert images.class_names == ("a", "b")
    wds = pytest.importorskip("webdataset")
    folder = hub_folder.parents[1] / "shards"
    folder.mkdir()
    with wds.TarWriter(str(folder / "train-0.tar")) as writer:
        for i in range(3):
            writer.write({"__key__": str(i), "png": png(i), "json": {"label": i % 2, "size": i / 2, "who": "x"}})
    images = read("hub:owner/shards?rows=3")
    assert torch.equal(images.images, pixels(0, 1, 2))
    assert list(class_of(images).values()) == ["0", "1", "0"]
    assert images.attribute_names == ("size",)


def test_a_missing_package_names_the_extra_that_installs_it(hub_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_set(2).save_to_disk("saved")
    monkeypatch.setitem(sys.modules, "datasets", None)
    for source in ("saved", str(hub_folder), "hub:owner/name"):
        with pytest.raises(UserError, match=r"needs the package datasets.*pip install 'sadm-diffusion\[hub\]'"):
            read(source)


def test_without_a_network_the_answer_is_quick_and_for_people(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    before = time.monotonic()
    with pytest.raises(UserError, match=r"hub:owner/nothing: Hugging Face's hub cannot be reached.*save_to_disk"):
        read("hub:owner/nothing")
    assert time.monotonic() - before < 20  # the library alone tries for 23 s
    assert not datasets.config.HF_HUB_OFFLINE


def test_the_probe_tells_a_listening_host_from_a_silent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr("urllib.request.getproxies", dict)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert _reachable(f"http://127.0.0.1:{port}")
    assert not _reachable(f"http://127.0.0.1:{port}")
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "proxy"})
    assert _reachable(f"http://127.0.0.1:{port}")  # behind a proxy, a direct answer means nothing


def test_names_that_are_none(hub_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"'hub:' names no data set; expected hub:OWNER/NAME"):
        read("hub:")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("sadm.data.sources.hub._reachable", lambda endpoint: True)
    with pytest.raises(UserError, match=r"cannot be read from the hub: .*Expected hub:OWNER/NAME\[/CONFIG\]\[@SPLIT\]"):
        read("hub:owner/name@nosuch")
    with pytest.raises(UserError, match=r"cannot be read from the hub: .*nosuch"):
        read("hub:owner/name/nosuch")
