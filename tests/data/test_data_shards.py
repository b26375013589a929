"""WebDataset shards: against the library's own reader, and tars with something wrong in them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from sadm.core.errors import UserError
from sadm.data.fitting import Fit
from sadm.data.reading import read_listing
from sadm.data.sources import list_source
from sadm.data.sources.shards import shard_files
from source_files import class_of, pixels, png, read, read_split, remarks


def pack(path: Path, files: dict[str, bytes | str | dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            text = json.dumps(content) if isinstance(content, dict) else content
            data = text.encode("utf-8") if isinstance(text, str) else text
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def shard(path: Path, seeds: range, classes: int = 2) -> Path:
    files: dict[str, bytes | str | dict[str, object]] = {}
    for i in seeds:
        files |= {f"{i:04d}.png": png(i), f"{i:04d}.cls": str(i % classes), f"{i:04d}.txt": "a caption"}
    return pack(path, files)


def test_shards_are_what_webdataset_reads(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    for s in range(3):
        with wds.TarWriter(str(tmp_path / f"parts-{s:03d}.tar")) as writer:
            for i in range(5 * s, 5 * s + 5):
                facts = {"depth": i / 4, "who": "x"}
                writer.write({"__key__": f"scans/部品 {i}", "png": png(i), "cls": i % 12, "json": facts, "txt": "a"})
    pattern = str(tmp_path / "parts-{000..002}.tar")
    oracle = list(wds.WebDataset(pattern, shardshuffle=False))
    for source in (pattern, str(tmp_path)):
        images = read(source, strict=True)
        found = class_of(images)
        assert images.attributes is not None
        for i, sample in enumerate(oracle):
            name = f"parts-{i // 5:03d}.tar/{sample['__key__']}.png"
            assert images.names[i] == name
            assert found[name] == sample["cls"].decode()
            assert images.attributes[i].tolist() == [json.loads(sample["json"])["depth"]]
        assert torch.equal(images.images, pixels(*range(15)))
        assert images.class_names == tuple(str(i) for i in range(12))
        assert "files of no use here are left out: '.txt'" in remarks(images)
        assert "'who'" in remarks(images)


def test_shards_say_their_part(tmp_path: Path) -> None:
    shard(tmp_path / "train-0.tar", range(4))
    shard(tmp_path / "train-1.tar", range(4, 8))
    shard(tmp_path / "val-0.tar", range(8, 11))
    split = read_split(tmp_path)
    assert torch.equal(split.train.images, pixels(*range(8)))
    assert torch.equal(split.held_out.images, pixels(8, 9, 10))
    some = read_split(f"{tmp_path}?rows=2")
    assert (some.train.names, some.held_out.names) == (split.train.names[:2], split.held_out.names[:2])
    assert torch.equal(read(tmp_path / "val-0.tar").images, split.held_out.images)


def test_shards_of_one_name_in_two_folders(tmp_path: Path) -> None:
    shard(tmp_path / "train" / "0.tar", range(3))
    shard(tmp_path / "test" / "0.tar", range(3, 6))
    images = read(f"{tmp_path}/{{train,test}}/0.tar")
    assert len(set(images.names)) == 6
    assert images.parts == ("train",) * 3 + ("held_out",) * 3


def test_labels_groups_masks_and_parts(tmp_path: Path) -> None:
    files: dict[str, bytes | str | dict[str, object]] = {}
    for i, part in enumerate(("train", "train", "test", "test")):
        files |= {f"{i}.jpg": png(i), f"{i}.mask.png": png(10 + i)}
        files[f"{i}.json"] = {"label": "xy"[i % 2], "group": i // 2, "split": part}
    listing = list_source(str(pack(tmp_path / "a.tar", files)))
    assert listing is not None
    assert [record.class_name for record in listing.records] == ["x", "y", "x", "y"]
    assert [record.group for record in listing.records] == ["0", "0", "1", "1"]
    assert [record.part for record in listing.records] == ["train", "train", "held_out", "held_out"]
    assert [callable(record.mask) and record.mask() for record in listing.records] == [png(10 + i) for i in range(4)]


def test_images_and_labels_are_named_where_several_could_be_meant(tmp_path: Path) -> None:
    files: dict[str, bytes | str | dict[str, object]] = {}
    for i in range(2):
        files |= {f"{i}.png": png(i), f"{i}.depth.png": png(5 + i), f"{i}.cls": "7"}
        files[f"{i}.json"] = {"label": "ab"[i], "maker": "pq"[i]}
    source = str(pack(tmp_path / "a.tar", files))
    with pytest.raises(UserError, match=r"'a\.tar/0' has several images \('png', 'depth\.png'\).*a\.tar\?image=png\."):
        read(source)
    images = read(f"{source}?image=depth.png")
    assert torch.equal(images.images, pixels(5, 6))
    assert images.class_names == ("7",)
    assert "labels are those of 'cls'; left out: 'label'" in remarks(images)
    assert read(f"{source}?image=png&label=maker").class_names == ("p", "q")
    with pytest.raises(
        UserError, match=r"no sample has a 'size' to take labels from; there are 'cls', 'label', 'maker'"
    ):
        read(f"{source}?image=png&label=size")


def test_unfit_samples_are_reasons(tmp_path: Path) -> None:
    files: dict[str, bytes | str | dict[str, object]] = {
        "a.png": png(0),
        "a.json": "{",
        "b.cls": "1",
        "c.png": png(1),
        "d.png": png(2),
        "d.json": "[1]",
        "e.png": b"no image",
        "f.png": png(3),
        ".hidden.png": png(4),
        "no extension": b"x",
    }
    path = pack(tmp_path / "a.tar", files)
    with tarfile.open(path, "a") as archive:
        for seed in (5, 6):
            info = tarfile.TarInfo("g.png")
            info.size = len(png(seed))
            archive.addfile(info, io.BytesIO(png(seed)))
        link = tarfile.TarInfo("h.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    images = read(path)
    assert images.names == ("a.tar/c.png", "a.tar/f.png")
    reasons = {skip.path: skip.reason for skip in images.skipped}
    assert set(reasons) == {f"a.tar/{name}" for name in ("a", "b", "d", "e.png", "g")}
    assert reasons["a.tar/a"].startswith("its .json cannot be read (")
    assert reasons["a.tar/b"] == "there is no image of this name"
    assert reasons["a.tar/d"] == "its .json cannot be read (no object)"
    assert reasons["a.tar/g"] == "two files '.png' follow each other"


def test_some_samples_without_a_class_are_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar", {"a.png": png(0), "a.cls": "1", "b.png": png(1)})
    with pytest.raises(UserError, match=r"a\.tar: 'a\.tar/b' has no 'label', though others have"):
        read(path)


@pytest.mark.parametrize("how", ["cut", "header"])
def test_samples_in_front_of_the_damage_are_read(tmp_path: Path, how: str) -> None:
    path = shard(tmp_path / "a.tar", range(6))
    content = bytearray(path.read_bytes())
    place = content.index(b"0004.png")
    path.write_bytes(
        content[: place + 600] if how == "cut" else content[:place] + b"\xff" * 600 + content[place + 600 :]
    )
    images = read(path)
    whole = 4 if how == "cut" else 3  # of the last sample, nobody knows whether it was
    assert torch.equal(images.images, pixels(*range(whole)))
    reasons = {skip.path: skip.reason for skip in images.skipped}
    assert reasons["a.tar"].startswith(f"the tar is damaged after 'a.tar/000{whole}'")
    assert reasons[f"a.tar/000{whole}"] == "the tar is damaged behind it, so that it may lack files"
    with pytest.raises(UserError, match=r"'a\.tar': the tar is damaged after"):
        read(path, strict=True)


def test_files_that_are_no_plain_tars(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", range(3))
    packed = tmp_path / "b.tar"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(UserError, match=r"b\.tar is no tar that can be read .*not compressed\. Unpack it with gunzip"):
        read(packed)
    with pytest.raises(
        UserError, match=r"c\.tar holds no images: 'c\.tar/readme'.*Expected tars with files such as 0001\.jpg"
    ):
        read(pack(tmp_path / "c.tar", {"readme.txt": "x"}))


def test_a_shard_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", range(6))
    listing = list_source(str(path))
    assert listing is not None
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"0003.png")])
    images = read_listing(listing, Fit())
    assert len(images) == 3
    assert "a.tar ends early" in images.skipped[0].reason


def test_threads_read_one_shard(tmp_path: Path) -> None:
    listing = list_source(str(shard(tmp_path / "a.tar", range(200))))
    assert listing is not None
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda record: record.content(), listing.records))  # type: ignore[operator]
    assert found == [png(i) for i in range(200)]


def test_patterns_stand_for_files_as_in_a_shell(tmp_path: Path) -> None:
    names = ["a-08.tar", "a-09.tar", "a-10.tar", "b-08.tar", "b-09.tar", "b-10.tar"]
    for name in names:
        (tmp_path / name).touch()
    found = shard_files(str(tmp_path / "{a,b}-{08..10}.tar"))
    assert [path.name for path in found] == names
    with pytest.raises(
        UserError, match=r"stands for 4 files, of which 1 do not exist: '.*a-07\.tar'\. Correct the pattern"
    ):
        shard_files(str(tmp_path / "a-{07..10}.tar"))
    with pytest.raises(UserError, match=r"stands for 0 files"):
        shard_files(str(tmp_path / "a-{10..07}.tar"))
