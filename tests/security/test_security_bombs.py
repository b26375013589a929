"""Files that claim, or unpack to, far more than they hold; and paths in files that lead outside."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.fuzz.files import make_cache, make_diffusers, make_model, picture
from sadm.core.errors import UserError
from sadm.core.provenance import peak_memory_mib
from sadm.core.unpacking import FREE, MOST_TIMES, check_unpacking
from sadm.data import open_source
from sadm.data.cache.manifest import MANIFEST, read_manifest
from sadm.data.export import class_folders
from sadm.data.sources.idx import read_idx
from sadm.models.weights import load_diffusers_dit
from sadm.models.weights.files import read_weights
from sadm.training.model_folder import load_model


@pytest.fixture(autouse=True)
def memory() -> object:
    """No test here may make this process larger by more than a gigabyte."""
    before = peak_memory_mib()
    yield
    assert peak_memory_mib() - before < 1024


def test_what_may_unpack_how_far() -> None:
    check_unpacking(1, FREE)
    check_unpacking(FREE, MOST_TIMES * FREE)
    with pytest.raises(ValueError, match="1000 bytes would unpack to 67108865; more than 200 times"):
        check_unpacking(1000, FREE + 1)


def _zeros(size: int) -> bytes:
    return b"\0" * size


def test_bombs_in_archives(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(2):
            with archive.open(f"{i}.png", "w", force_zip64=True) as member:
                for _ in range(66):
                    member.write(_zeros(1 << 20))
    with pytest.raises(UserError, match="decompression bomb"):
        open_source(str(tmp_path / "a.zip"))
    np.savez_compressed(tmp_path / "b.npz", images=np.zeros((1, 9000, 9000), np.uint8))
    with pytest.raises(UserError, match="decompression bomb"):
        open_source(str(tmp_path / "b.npz"))
    header = struct.pack(">BBBBIII", 0, 0, 8, 3, 100_000, 1000, 1000)
    (tmp_path / "c.gz").write_bytes(gzip.compress(header + _zeros(1 << 20)))
    with pytest.raises(UserError, match=r"declares the shape \[100000, 1000, 1000\].*decompression bomb.*gunzip"):
        read_idx(tmp_path / "c.gz", 3)


def test_promises_that_a_file_does_not_keep(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(struct.pack(">BBBBIII", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1))
    with pytest.raises(UserError, match="declares the shape"):
        read_idx(tmp_path / "a", 3)
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000, 1000), }".ljust(117) + "\n"
    (tmp_path / "images.npy").write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text.encode())
    with pytest.raises(UserError, match="damaged NumPy file"):
        open_source(str(tmp_path / "images.npy"))
    claims = json.dumps({"a": {"dtype": "U8", "shape": [10**12], "data_offsets": [0, 10**12]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(claims)) + claims)
    (tmp_path / "b.safetensors").write_bytes(struct.pack("<Q", 2**60) + claims)
    for name in ("a.safetensors", "b.safetensors"):
        with pytest.raises(UserError, match="cut short or no safetensors"):
            read_weights(tmp_path / name)
    torch.save({"a": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="claim more numbers than the file does"):
        read_weights(tmp_path / "a.pt")


def _altered(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


def test_networks_larger_than_their_weights(tmp_path: Path) -> None:
    model, folder = tmp_path / "model", tmp_path / "diffusers"
    model.mkdir()
    make_model(model)
    net = json.loads((model / "model.json").read_text("utf-8"))["net"]
    for change in ({"net": {**net, "width": 2**20}}, {"net": {**net, "depth": 10**9}}, {"shape": [1, 2**20, 2**20]}):
        whole = (model / "model.json").read_bytes()
        _altered(model / "model.json", **change)
        with pytest.raises(UserError, match=r"describes a network of .* parameters or more"):
            load_model(model)
        (model / "model.json").write_bytes(whole)
    assert load_model(model).spec.class_names == ("a", "b")
    folder.mkdir()
    make_diffusers(folder)
    load_diffusers_dit(folder)
    for change in (
        {"num_layers": 60_000},
        {"attention_head_dim": 60_000},
        {"sample_size": 4096, "attention_head_dim": 64},
    ):
        whole = (folder / "transformer" / "config.json").read_bytes()
        _altered(folder / "transformer" / "config.json", **change)
        with pytest.raises(UserError, match=r"describes a network of .* parameters or more"):
            load_diffusers_dit(folder)
        (folder / "transformer" / "config.json").write_bytes(whole)


def test_caches_of_too_many_shards(tmp_path: Path) -> None:
    make_cache(tmp_path)
    _altered(tmp_path / MANIFEST, count=10**18, per_shard=1)
    with pytest.raises(UserError, match="expected 1000000 or less"):
        read_manifest(tmp_path, "latents")


def _tar(path: Path, members: list[tarfile.TarInfo]) -> None:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for info in members:
            archive.addfile(info, io.BytesIO(picture("PNG")) if info.isreg() else None)


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(picture("PNG")) if kind == tarfile.REGTYPE else 0
    return info


def test_archives_reach_nothing_outside(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture("PNG"))
    inside = tmp_path / "inside"
    inside.mkdir()
    links = [_member("l.png", tarfile.SYMTYPE, str(secret)), _member("h.png", tarfile.LNKTYPE, "../secret.png")]
    devices = [_member("d.png", tarfile.CHRTYPE), _member("f.png", tarfile.FIFOTYPE)]
    names = ["../up.png", "/root.png", "C:\\drive.png", "a/../../b.png"]
    _tar(inside / "a.tar", [*map(_member, names), *links, *devices])
    assert len(open_source(str(inside / "a.tar"))) == len(names)  # type: ignore[arg-type]
    with zipfile.ZipFile(inside / "a.zip", "w") as archive:
        for name in ("one.png", "two.png", "../up.png", "a/../../b.png"):  # the last two count as hidden
            archive.writestr(name, picture("PNG"))
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(secret))
    opened = open_source(str(inside / "a.zip"))
    assert [skip.path for skip in opened.skipped] == ["link.png"]  # type: ignore[union-attr]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inside", "secret.png"]
    assert sorted(path.name for path in inside.iterdir()) == ["a.tar", "a.zip"]


@pytest.mark.parametrize("path", ["../secret.png", "/etc/hostname", "C:/x.png", "a/../../secret.png", "..\\secret.png"])
def test_tables_reach_nothing_outside(path: str, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(picture("PNG"))
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(picture("PNG"))
    for column in ("file_name", "mask"):
        rows = [{"file_name": "a.png", "mask": "a.png"}, {"file_name": "b.png", "mask": "b.png", column: path}]
        (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
        with pytest.raises(UserError, match="which may lie elsewhere"):
            open_source(str(folder))


@pytest.mark.parametrize(
    "path", ["../secret.png", "{tmp}/secret.png", "link.png", "file://{tmp}/secret.png", "a\0b", "http://h/x"]
)
def test_rows_reach_nothing_outside(path: str, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "secret.png").write_bytes(picture("PNG"))
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "own.png").write_bytes(picture("PNG"))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    paths = ["own.png", "own.png", path.format(tmp=tmp_path)]
    rows = [{"image": {"bytes": None, "path": place}} for place in paths]
    schema = pyarrow.schema([("image", pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]))])
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema), folder / "a.parquet")
    opened = open_source(str(folder / "a.parquet"))
    assert len(opened) == 2  # type: ignore[arg-type]
    (skip,) = opened.skipped  # type: ignore[union-attr]
    assert "which leads out of the data set" in skip.reason


HOSTILE = (
    "../x",
    "a/b",
    "a\\b",
    "CON",
    "con.txt",
    "nul",
    "x\0y",
    "x\ny",
    "é" * 300,
    "A",
    "a",
    "a ",
    " a",
    ".",
    "..",
    "",
    "masks",
    "~",
)


def test_folders_of_classes_are_safe_and_distinct() -> None:
    folders = class_folders(HOSTILE)
    assert len({folder.casefold() for folder in folders}) == len(HOSTILE)
    for folder in folders:
        assert folder.strip(" .") == folder != ""
        assert not set(folder) & set('/\\:*?"<>|\0\n')
        assert folder.split(".")[0].upper() not in {"CON", "NUL", "PRN", "AUX"}
        assert len(folder.encode()) < 255
