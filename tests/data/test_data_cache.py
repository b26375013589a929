"""The cache of tensors: what goes in comes out, interruptions cost a shard, damage is found, and what disagrees is refused."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save

from sadm.core.errors import UserError
from sadm.data.cache import MANIFEST, Manifest, Shard, StoreWriter, TensorKind, TensorStore, read_manifest

TENSORS = {"map": TensorKind(dtype="float16", shape=(2, 3)), "number": TensorKind(dtype="int64", shape=())}
ABOUT = {"encoder": "a" * 64, "size": "3x2", "flip": False}


def plan(count: int = 10, per_shard: int = 4, **change: object) -> Manifest:
    about = {**ABOUT, **change}
    return Manifest(kind="maps", about=about, count=count, per_shard=per_shard, tensors=TENSORS)


def tensors(rows: range) -> dict[str, torch.Tensor]:
    """Of image i, the map is filled with i and the number is -i."""
    index = torch.tensor(list(rows))
    return {"map": index.half().view(-1, 1, 1).repeat(1, 2, 3), "number": -index}


def say_nothing(text: str) -> None:
    raise AssertionError(f"nothing was damaged, but it said: {text}")


def fill(folder: Path, manifest: Manifest, numbers: list[int] | None = None) -> StoreWriter:
    folder.mkdir(exist_ok=True)
    writer = StoreWriter(folder, manifest, say_nothing)
    for number in writer.missing if numbers is None else numbers:
        writer.add(number, save(tensors(manifest.rows(number))))
    return writer


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 12), per_shard=st.integers(1, 13), data=st.data())
def test_what_is_written_is_read_by_image(
    tmp_path_factory: pytest.TempPathFactory, count: int, per_shard: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    fill(folder, plan(count, per_shard))
    store = TensorStore(folder, "maps")
    rows = torch.tensor(data.draw(st.lists(st.integers(0, count - 1), max_size=8)), dtype=torch.int64)
    assert torch.equal(store.read("map", rows), rows.half().view(-1, 1, 1).expand(-1, 2, 3))
    assert torch.equal(store.read("number", rows), -rows)
    assert store.column("number").tolist() == [-row for row in range(count)]
    assert len(store) == count
    assert store.damaged() == []


def test_files_are_plain_safetensors_with_their_checksums(tmp_path: Path) -> None:
    fill(tmp_path, plan())
    facts = json.loads((tmp_path / MANIFEST).read_text())
    assert [shard["number"] for shard in facts["shards"]] == [0, 1, 2]
    for shard in facts["shards"]:
        path = tmp_path / f"shard-{shard['number']:05d}.safetensors"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == shard["sha256"]
        assert path.stat().st_size == shard["bytes"]
    last = load_file(tmp_path / "shard-00002.safetensors")
    assert last["number"].tolist() == [-8, -9]


def test_a_cache_larger_than_memory_is_read_where_it_is_asked(tmp_path: Path) -> None:
    """A file of 1 TiB, nearly all of it a hole: whoever read it, or more of it than a batch, would not come back."""
    shape, count = (256, 64, 64), 2**19
    each, size = 2 * 256 * 64 * 64, 2**19 * 2 * 256 * 64 * 64
    header = json.dumps({"map": {"dtype": "F16", "shape": [count, *shape], "data_offsets": [0, size]}}).encode()
    path, row = tmp_path / "shard-00000.safetensors", 300_000
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        start = file.tell()
        try:
            file.truncate(start + size)
        except OSError:
            pytest.skip("this file system holds no file of 1 TiB")
        file.seek(start + row * each)
        file.write(torch.full(shape, 7.0).half().numpy().tobytes())
    shard = Shard(number=0, bytes=start + size, sha256="0" * 64)
    kinds = {"map": TensorKind(dtype="float16", shape=shape)}
    Manifest(kind="maps", about={}, count=count, per_shard=count, tensors=kinds, shards=(shard,)).write(tmp_path)
    read = TensorStore(tmp_path, "maps").read("map", torch.tensor([row, 5]))
    assert bool((read[0] == 7).all())
    assert bool((read[1] == 0).all())


def test_an_interrupted_writing_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    fill(tmp_path / "whole", plan())
    fill(tmp_path / "parts", plan(), [2])
    (tmp_path / "parts" / ".shard-00001.safetensors.x.tmp").write_bytes(b"half")  # as a killed process leaves it
    (tmp_path / "parts" / "shard-00000.safetensors").write_bytes(b"written, but not yet listed")
    with pytest.raises(
        UserError, match=r"parts is incomplete: 2 of 3 shards are missing\. Run the command that makes it"
    ):
        TensorStore(tmp_path / "parts", "maps")
    again = StoreWriter(tmp_path / "parts", plan(), say_nothing)
    assert again.missing == [0, 1]
    for number in (1, 0):
        again.add(number, save(tensors(plan().rows(number))))
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("how", ["truncated", "missing", "a bit"])
def test_a_damaged_shard_is_found_and_made_anew(tmp_path: Path, how: str) -> None:
    fill(tmp_path, plan())
    before = contents(tmp_path)
    path = tmp_path / "shard-00001.safetensors"
    if how == "a bit":
        damage(path)
        assert TensorStore(tmp_path, "maps").damaged() == [path.name]
    else:
        _ = path.unlink() if how == "missing" else path.write_bytes(path.read_bytes()[:-5])
        said = "is missing" if how == "missing" else "is truncated or altered: 179 bytes, expected 184"
        size = len(before[path.name])
        said = said.replace("179", str(size - 5)).replace("184", str(size))
        with pytest.raises(UserError, match=f"{path.name} {said}.*Run the command that makes this cache again"):
            TensorStore(tmp_path, "maps")
    told: list[str] = []
    writer = StoreWriter(tmp_path, plan(), told.append)
    assert writer.missing == [1]
    assert path.name in told[0]
    writer.add(1, save(tensors(plan().rows(1))))
    assert contents(tmp_path) == before


def test_a_shard_of_other_tensors_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, plan(), [0, 1])
    writer = StoreWriter(tmp_path, plan(), say_nothing)
    writer.add(2, save(tensors(range(3))))  # three images where two belong
    with pytest.raises(UserError, match=r"shard-00002.*holds map as F16 \[3, 2, 3\]; expected F16 \[2, 2, 3\]"):
        TensorStore(tmp_path, "maps")
    writer.add(2, save({"map": torch.zeros(2, 2, 3), "number": torch.zeros(2, dtype=torch.int64)}))
    with pytest.raises(UserError, match=r"holds map as F32 \[2, 2, 3\]; expected F16"):
        TensorStore(tmp_path, "maps")
    writer.add(2, save({"map": torch.zeros(2, 2, 3).half()}))
    with pytest.raises(
        UserError,
        match=r"shard-00002.safetensors is not what was written .KeyError: 'number'.*makes damaged shards anew",
    ):
        TensorStore(tmp_path, "maps")
    for content in (b"no safetensors at all", b"short", struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 2) + b"[]"):
        writer.add(2, content)
        with pytest.raises(UserError, match=r"shard-00002.safetensors is not what was written"):
            TensorStore(tmp_path, "maps")


def test_another_cache_is_refused_with_its_keys(tmp_path: Path) -> None:
    fill(tmp_path, plan(), [0])
    before = contents(tmp_path)
    with pytest.raises(UserError) as refused:
        StoreWriter(tmp_path, plan(count=11, encoder="b" * 64, flip=True), say_nothing)
    assert (
        f"{tmp_path} holds other maps (encoder: stored {'a' * 12}…, given {'b' * 12}…; flip: stored False, given True; "
        "count: stored 10, given 11). Give the stored values, choose another folder, or delete this one"
    ) in str(refused.value)
    with pytest.raises(UserError, match="laid out by another version"):
        StoreWriter(tmp_path, plan(per_shard=5), say_nothing)
    with pytest.raises(UserError, match="is a cache of maps; expected one of latents"):
        TensorStore(tmp_path, "latents")
    assert contents(tmp_path) == before


def test_other_folders_and_versions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"manifest\.json does not exist"):
        TensorStore(tmp_path, "maps")
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not empty and holds no cache of maps"):
        StoreWriter(tmp_path, plan(), say_nothing)
    assert contents(tmp_path) == {"thesis.txt": b"years of work"}
    manifest = plan().model_dump(mode="json")
    for text, said in [
        (json.dumps({**manifest, "format": 9}), "has format 9; this version reads format 1"),
        ("[]", "has format None"),
        (json.dumps({**manifest, "count": -1}), "'count': .* greater than 0"),
        (json.dumps({**manifest, "tensors": {"map": {"dtype": "complex64", "shape": [1]}}}), "tensors.map.dtype"),
        ('{"format": 1, ', "is not valid JSON"),
    ]:
        (tmp_path / MANIFEST).write_text(text)
        with pytest.raises(UserError, match=said):
            read_manifest(tmp_path, "maps")


def test_a_full_disk_costs_the_shard_that_did_not_fit(small_disk: Path) -> None:
    kinds = {"map": TensorKind(dtype="float32", shape=(10_000,))}
    wide = Manifest(kind="maps", about={}, count=8, per_shard=1, tensors=kinds)
    content = save({"map": torch.ones(1, 10_000)})
    folder = small_disk / "cache"
    folder.mkdir()
    writer = StoreWriter(folder, wide, say_nothing)
    added = 0
    with pytest.raises(UserError, match=r"cannot write .*shard-0000\d.*the disk is full.*saved before is intact"):  # noqa: PT012
        for number in range(8):
            writer.add(number, content)
            added += 1
    assert 0 < added < 8
    assert not list(folder.glob("*.tmp")) + list(folder.glob(".*.tmp"))
    assert StoreWriter(folder, wide, say_nothing).missing == list(range(added, 8))
