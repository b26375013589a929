"""Zips of images and NVIDIA's dataset.json: read where they lie, from many threads, and safely."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from sadm.core.errors import UserError
from sadm.data.sources import list_source
from source_files import class_of, fill, pixels, png, read, read_split

EDM = ["00000/img00000000.png", "00000/img00000001.png", "00000/img00000002.png"]


def pack(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def pack_folder(folder: Path) -> Path:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return pack(folder.with_suffix(".zip"), {name: (folder / name).read_bytes() for name in names})


def labels(pairs: object) -> str:
    return json.dumps({"labels": pairs})


# ---- dataset.json ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [True, False])
def test_dataset_json_numbers_the_classes(tmp_path: Path, packed: bool) -> None:
    fill(tmp_path / "set", EDM)
    (tmp_path / "set" / "dataset.json").write_text(labels([[EDM[2], 0], [EDM[0], 11], [EDM[1], 2]]))
    images = read(pack_folder(tmp_path / "set") if packed else tmp_path / "set", strict=True)
    assert images.names == tuple(EDM)
    assert images.labels is not None
    assert images.labels.tolist() == [11, 2, 0]  # index and number agree, as for published weights
    assert images.class_names == tuple(str(i) for i in range(12))
    assert torch.equal(images.images, pixels(0, 1, 2))


def test_dataset_json_without_labels(tmp_path: Path) -> None:
    fill(tmp_path, [*EDM, "00001/img00001000.png"])
    (tmp_path / "dataset.json").write_text(labels(None))
    images = read(tmp_path)
    assert images.labels is None
    assert len(images) == 4


def test_dataset_json_and_files_that_do_not_fit(tmp_path: Path) -> None:
    fill(tmp_path, EDM)
    (tmp_path / "dataset.json").write_text(labels([[EDM[0], 0], [EDM[1], 1], ["gone.png", 1]]))
    reasons = {skip.path: skip.reason for skip in read(tmp_path).skipped}
    assert reasons == {
        "gone.png": "entry 3 of dataset.json names 'gone.png', but there is no such file",
        EDM[2]: "no row of dataset.json names it",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"is no JSON .*Write it anew, or remove it"),
        ("[]", r"has no 'labels'.*Rename it if it is something else"),
        ('{"name": "x"}', r"has no 'labels'"),
        (labels({"a.png": 1}), r"'labels' is .*expected \{\"labels\""),
        (
            labels([["a.png", 1], ["b.png", "cat"]]),
            r"entry 2 of 'labels' is \[\"b\.png\", \"cat\"\].*number of one class",
        ),
        (labels([["a.png", [0, 1]]]), r"entry 1 of 'labels'"),
        (labels([["a.png", True]]), r"entry 1 of 'labels'"),
        (labels([[EDM[0], -1]]), r"label -1 is no class number; expected integers from 0.*metadata\.csv"),
        (labels([[EDM[0], 10**15]]), r"label 1000000000000000 is no class number"),
        (labels([["../x.png", 0]]), r"entry 1 names '\.\./x\.png'"),
    ],
)
def test_mistakes_in_dataset_json_are_explained(tmp_path: Path, text: str, message: str) -> None:
    fill(tmp_path, EDM)
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read(tmp_path)


# ---- zips ------------------------------------------------------------------------------------------------------------


def test_a_zip_is_read_as_the_folder_it_was_made_of(tmp_path: Path) -> None:
    fill(tmp_path / "set", ["傷 あり/1.png", "傷 あり/2.png", "良品/x/3.png", "良品/.hidden.png", "notes.txt"])
    folder, packed = read(tmp_path / "set"), read(pack_folder(tmp_path / "set"))
    assert packed.names == folder.names
    assert packed.class_names == ("傷 あり", "良品")
    assert packed.fingerprint() == folder.fingerprint()


def test_metadata_and_parts_within_a_zip(tmp_path: Path) -> None:
    table = b"file_name,label,split\na.png,x,train\nb.png,y,test\n"
    images = {f"{name}.png": png(i) for i, name in enumerate("ab")}
    split = read_split(pack(tmp_path / "a.zip", {"metadata.csv": table, **images}))
    assert class_of(split.train) | class_of(split.held_out) == {"a.png": "x", "b.png": "y"}
    parts = {f"{part}/{label}/{i}.png": png(i) for part in ("train", "val") for label in "xy" for i in range(2)}
    split = read_split(pack(tmp_path / "b.zip", parts))
    assert (len(split.train), len(split.held_out), split.train.class_names) == (4, 4, ("x", "y"))


def test_the_folder_around_all_files_and_what_macos_adds_are_dropped(tmp_path: Path) -> None:
    files = {f"my parts/{label}/{i}.png": png(i) for label in ("bad", "good") for i in range(2)}
    files |= {"__MACOSX/my parts/bad/._0.png": b"resource fork", "my parts/.DS_Store": b"x"}
    images = read(pack(tmp_path / "a.zip", files), strict=True)
    assert images.names == ("bad/0.png", "bad/1.png", "good/0.png", "good/1.png")


@pytest.mark.parametrize(("encoding", "name"), [("cp932", "ソ部品.png"), ("utf-8", "部品é.png")])
def test_names_whose_encoding_the_zip_does_not_say(tmp_path: Path, encoding: str, name: str) -> None:
    raw = name.encode(encoding)
    ascii_name = "x" * (len(raw) - 4) + ".png"
    path = pack(tmp_path / "a.zip", {ascii_name: png(0), "b.png": png(1)}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(ascii_name.encode(), raw))
    assert set(read(path).names) == {name, "b.png"}


def test_many_threads_read_one_zip(tmp_path: Path) -> None:
    files = {f"{i:03d}.png": png(i) for i in range(200)}
    listing = list_source(str(pack(tmp_path / "a.zip", files)))
    assert listing is not None
    contents = [record.content for record in listing.records] * 5
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda content: content(), contents))  # type: ignore[operator]
    assert found == list(files.values()) * 5


def damaged(path: Path, change: str) -> Path:
    """A zip of a.png, b.png and c.png, in which something is wrong with b.png."""
    method = zipfile.ZIP_STORED if change == "flipped" else zipfile.ZIP_DEFLATED
    pack(path, {f"{name}.png": png(i) for i, name in enumerate("abc")}, method)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("b.png")
    central = content.rindex(b"PK\x01\x02", 0, content.rindex(b"b.png"))
    if change == "flipped":
        content[info.header_offset + 60] ^= 0xFF
    elif change == "deflate":
        content[info.header_offset + 36 : info.header_offset + 46] = b"\xff" * 10
    elif change == "encrypted":
        content[central + 8] |= 1
    elif change == "bomb":
        struct.pack_into("<I", content, central + 24, 4_000_000_000)
    elif change == "method":
        struct.pack_into("<H", content, central + 10, 9)
        struct.pack_into("<H", content, info.header_offset + 8, 9)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("flipped", "damaged in the zip (Bad CRC-32"),
        ("deflate", "damaged in the zip ("),
        ("encrypted", "it is encrypted; unpack the zip with its password"),
        ("bomb", "it unpacks to 4000000000 bytes, more than any file that is accepted"),
        ("method", "zip the images with ordinary compression"),
    ],
)
def test_one_bad_member_is_a_reason_and_the_others_are_read(tmp_path: Path, change: str, reason: str) -> None:
    path = damaged(tmp_path / "a.zip", change)
    images = read(path)
    assert images.names == ("a.png", "c.png")
    assert torch.equal(images.images, pixels(0, 2))
    assert [skip.path for skip in images.skipped] == ["b.png"]
    assert reason in images.skipped[0].reason
    with pytest.raises(UserError, match=r"1 image file cannot be read: 'b\.png'"):
        read(path, strict=True)


def test_a_real_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sadm.data.sources.zips._MOST_BYTES", 80_000)
    images = read(pack(tmp_path / "a.zip", {"a.png": png(0), "b.png": png(1), "bomb.png": bytes(80_001)}))
    assert [skip.path for skip in images.skipped] == ["bomb.png"]
    assert "unpacks to 80001 bytes" in images.skipped[0].reason


def test_an_encrypted_table_is_explained(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"metadata.csv": b"file_name\na.png\n", "a.png": png(0)})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read metadata\.csv of .*a\.zip: it is encrypted"):
        read(path)


def test_a_truncated_zip_and_one_without_images_are_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"a.png": png(0)})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"a\.zip is a damaged zip .*Copy or download it again"):
        read(path)
    with pytest.raises(UserError, match=r"b\.zip holds no images \(only \.txt\)"):
        read(pack(tmp_path / "b.zip", {"a.txt": b"x"}))
    with pytest.raises(UserError, match=r"c\.zip holds no images \(it is empty\)"):
        read(pack(tmp_path / "c.zip", {}))


def test_a_member_without_a_name_is_passed_over(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"a.png": png(0), "b.png": png(1), "c.png": png(2)})
    path.write_bytes(path.read_bytes().replace(b"a.png", b"\0.png"))  # what follows a zero is cut off
    assert read(path).names == ("b.png", "c.png")


def test_a_zip_of_any_name_is_told_by_its_content(tmp_path: Path) -> None:
    path = pack(tmp_path / "set.dat", {"a.png": png(0), "b.png": png(1)})
    assert len(read(path)) == 2
    buffer = io.BytesIO()
    np.savez(buffer, images=np.zeros((2, 5, 5), np.uint8))
    (tmp_path / "arrays.zip").write_bytes(buffer.getvalue())
    assert read(tmp_path / "arrays.zip").shape == (1, 5, 5)
