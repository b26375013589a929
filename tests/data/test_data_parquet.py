"""Parquet files: against `datasets`' own reader, in any order of reading, in row groups of any size."""

from __future__ import annotations

import io
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sadm.core.errors import UserError
from sadm.data.fitting import Fit
from sadm.data.reading import read_listing
from sadm.data.records import Listing
from sadm.data.sources import list_source
from source_files import class_of, pixels, png, read, read_split, remarks

datasets = pytest.importorskip("datasets", reason="the package datasets is not installed (extra 'hub')")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def write(path: Path, count: int, first: int = 0, group: int = 50) -> Path:
    """As `datasets` writes it: the features lie in the schema."""
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["bad", "good"]))
    rows = [{"image": {"bytes": png(first + i), "path": f"{i}.png"}, "label": i % 2} for i in range(count)]
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows, features=features).to_parquet(path, batch_size=group)
    return path


def write_plain(path: Path, **columns: Any) -> Path:
    """As pandas writes it: bytes are bytes."""
    pq.write_table(pa.table(columns), path)
    return path


def listed(source: str | Path) -> Listing:
    listing = list_source(str(source))
    assert listing is not None
    return listing


def test_a_file_is_what_datasets_reads(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", 7, group=3)
    images = read(path, strict=True)
    oracle = datasets.load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path / "cache"))["train"]
    for i, row in enumerate(oracle):
        assert np.array_equal(images.images[i].permute(1, 2, 0).numpy(), np.array(row["image"]))
        assert class_of(images)[f"a.parquet/{i}"] == oracle.features["label"].int2str(row["label"])


@pytest.mark.parametrize("below", ["", "data"])
def test_files_say_their_part(tmp_path: Path, below: str) -> None:
    write(tmp_path / below / "train-00000-of-00002.parquet", 3)
    write(tmp_path / below / "train-00001-of-00002.parquet", 3, 3)
    write(tmp_path / below / "validation-00000-of-00001.parquet", 2, 6)
    (tmp_path / "README.md").write_text("a card")
    split = read_split(tmp_path)
    assert torch.equal(split.train.images, pixels(*range(6)))
    assert split.held_out.names == tuple(f"validation-00000-of-00001.parquet/{i}" for i in range(2))
    some = read_split(f"{tmp_path}?rows=4")
    assert torch.equal(some.train.images, pixels(*range(4)))
    assert len(some.held_out) == 2
    assert len(read(tmp_path / below / "validation-00000-of-00001.parquet")) == 2


def test_files_of_pandas(tmp_path: Path) -> None:
    path = write_plain(tmp_path / "a.parquet", picture=[png(i) for i in range(4)], label=["x", "y"] * 2, size=[1.5] * 4)
    images = read(path)
    assert torch.equal(images.images, pixels(0, 1, 2, 3))
    assert images.class_names == ("x", "y")
    assert images.attribute_names == ("size",)
    structs = [{"bytes": png(i), "path": None} for i in range(4)]
    images = read(write_plain(tmp_path / "b.parquet", picture=structs, label=[10, 9, 9, 10], note=["x"] * 4))
    assert images.class_names == ("9", "10")
    assert "left out: 'note'" in remarks(images)


@pytest.mark.parametrize("group", [1, 7, 40, 1000])
@pytest.mark.parametrize("order", ["forward", "twice", "backward", "shuffled", "each four times"])
def test_rows_are_found_in_any_order(tmp_path: Path, group: int, order: str) -> None:
    listing = listed(write(tmp_path / "a.parquet", 100, group=group))
    wanted = {
        "forward": list(range(100)),
        "twice": [*range(100), *range(100)],
        "backward": list(range(99, -1, -1)),
        "shuffled": random.Random(0).sample(range(100), 100),
        "each four times": [i for i in range(100) for _ in range(4)],
    }[order]
    expected = [png(i) for i in range(100)]
    assert [listing.records[i].content() for i in wanted] == [expected[i] for i in wanted]  # type: ignore[operator]


def test_an_empty_cell_of_masks_is_no_mask(tmp_path: Path) -> None:
    white = io.BytesIO()
    Image.new("L", (8, 8), 255).save(white, "PNG")
    cells = [{"bytes": white.getvalue(), "path": None}, None, {"bytes": None, "path": None}] * 20
    table = pa.table({"image": [png(i) for i in range(60)], "mask": cells})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    plain = [None if i % 3 else white.getvalue() for i in range(60)]
    write_plain(tmp_path / "b.parquet", image=[png(i) for i in range(60)], mask=pa.array(plain, pa.binary()))
    for name in ("a.parquet", "b.parquet", "a.parquet?rows=20"):
        images = read(tmp_path / name, strict=True)
        assert images.masks is not None
        assert [bool(mask.all()) for mask in images.masks] == [i % 3 == 0 for i in range(len(images))]
        assert [bool(mask.any()) for mask in images.masks] == [i % 3 == 0 for i in range(len(images))]


def test_columns_are_known_in_capitals_too(tmp_path: Path) -> None:
    content = {
        "Image": [png(i) for i in range(4)],
        "Label": [1, 0, 0, 1],
        "Group": list("aabb"),
        "Split": ["train", "test"] * 2,
    }
    images = read(write_plain(tmp_path / "a.parquet", **content))
    assert images.class_names == ("0", "1")
    assert images.groups == ("a", "a", "b", "b")
    assert images.parts == ("train", "held_out") * 2
    assert images.attribute_names == ()
    with pytest.raises(
        UserError, match=r"the columns 'Label', 'label' differ in capitals alone.*which holds the labels"
    ):
        read(write_plain(tmp_path / "b.parquet", **content, label=[1, 0, 0, 1]))
    with pytest.raises(UserError, match=r"has the columns 'Group', 'group', which mean the same"):
        read(write_plain(tmp_path / "c.parquet", **content, group=list("abab")))


def test_threads_read_one_file(tmp_path: Path) -> None:
    listing = listed(write(tmp_path / "a.parquet", 300, group=64))
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda record: record.content(), listing.records))  # type: ignore[operator]
    assert found == [png(i) for i in range(300)]


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", 100, group=10)
    listing = listed(path)
    write(path, 40, group=10)
    images = read_listing(listing, Fit())
    assert len(images) == 40
    assert images.skipped[-1].reason.startswith("a.parquet cannot be read")
    listing = listed(write(path, 100))
    path.unlink()
    with pytest.raises(
        UserError, match=r"none of its 100 image files can be read.*a\.parquet cannot be read .*No such file"
    ):
        read_listing(listing, Fit())


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.parquet", 5).read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[:-20])
    with pytest.raises(UserError, match=r"a\.parquet is a damaged Parquet file .*Copy or download it again"):
        read(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"a\.parquet is a damaged Parquet file"):
        read(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"no column holds images \('label'\)"):
        read(write_plain(tmp_path / "b.parquet", label=[1, 2]))
    with pytest.raises(UserError, match=r"c\.parquet has no rows; expected one for each image"):
        read(write_plain(tmp_path / "c.parquet", image=pa.array([], pa.binary())))
    write(tmp_path / "two" / "a.parquet", 2)
    write_plain(tmp_path / "two" / "b.parquet", image=[png(0)])
    with pytest.raises(UserError, match=r"b\.parquet has no column 'label', which other files of the set have"):
        read(tmp_path / "two")


def test_damage_costs_the_rows_of_its_group(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"image": [png(i) for i in range(60)]})
    pq.write_table(table, path, row_group_size=20, compression="none", use_dictionary=False)
    with open(path, "r+b") as file:
        file.seek(pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset)
        file.write(b"\xff" * 30)
    images = read(path)
    assert torch.equal(images.images, pixels(*range(20), *range(40, 60)))
    assert {skip.path for skip in images.skipped} == {f"a.parquet/{i}" for i in range(20, 40)}
    assert images.skipped[0].reason.startswith("a.parquet cannot be read (")
