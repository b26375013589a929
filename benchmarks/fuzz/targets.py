"""What is given forged files: each reader with the valid files that its inputs are made from."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.fuzz import files
from benchmarks.fuzz.mutations import Draw, as_json, changed, lines_of_json, mutated, one_of
from benchmarks.fuzz.running import Target
from sadm.core.config import build_config, parse_yaml
from sadm.core.errors import UserError
from sadm.core.marking import from_xmp, to_xmp
from sadm.core.verifying import verify
from sadm.data.cache.manifest import MANIFEST, read_manifest
from sadm.data.cache.store import TensorStore
from sadm.data.decoding import decode, pillow_settings
from sadm.data.fitting import Fit
from sadm.data.preparation.journal import FILE, Journal
from sadm.data.records import Record
from sadm.data.sources.address import parse_address
from sadm.data.sources.dataset_json import DATASET_JSON, list_dataset_json
from sadm.data.sources.idx import read_idx
from sadm.data.sources.kinds import list_tree
from sadm.data.sources.metadata import read_table
from sadm.data.sources.numpy_files import open_array, open_arrays
from sadm.data.sources.opening import list_source
from sadm.data.sources.prepared import PREPARED
from sadm.data.sources.shards import list_shards
from sadm.data.sources.tables import understand
from sadm.data.sources.trees import Tree
from sadm.data.sources.zips import walk_zip
from sadm.evaluation.statistics_file import read_statistics
from sadm.experiments.config import CompareConfig
from sadm.models.weights import load_diffusers_dit, load_dit_checkpoint
from sadm.models.weights.files import read_weights
from sadm.training.checkpoint import load_checkpoint
from sadm.training.config import TrainConfig
from sadm.training.description import model_spec
from sadm.training.model_folder import load_model
from sadm.training.outputs import RECORDS, read_records
from sadm.training.policy import read_policy
from sadm.training.reviews import REVIEWS, read_reviews

_FIT = Fit(4, 3)


def _configs() -> list[Any]:
    train = {
        "signal": "structure",
        "data": {"source": "digits"},
        "net": {"width": 16, "heads": 2},
        "optimiser": {"steps": 9},
    }
    return [train, {"train": train, "seeds": [1, 2], "arms": {"plain": {"signal": "none"}, "b": {"net": {"depth": 3}}}}]


_ALIASES = b"data: &d {source: digits}\nsignal: none\nprior: *d\n<<: *d\n"
_TAGS = b"seed: !!int '3'\nnet: {<<: {depth: 2}}"


def _yaml(folder: Path) -> Draw:
    dumped = [yaml.safe_dump(value, sort_keys=False).encode() for value in _configs()]
    return mutated([*dumped, _ALIASES, _TAGS])


def _read_yaml(data: bytes, folder: Path) -> None:
    values = parse_yaml(data.decode("utf-8", "replace"), "the file")
    _build(values, folder)


def _build(values: Any, folder: Path) -> None:
    kind = CompareConfig if isinstance(values, dict) and {"arms", "train"} & values.keys() else TrainConfig
    build_config(kind, values, "the file")


def _in_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    """A reader of a file of this name."""

    def reader(data: bytes, folder: Path) -> object:
        path = folder / name
        path.write_bytes(data)
        return read(path)

    return reader


def _in_folder(
    file: str, make: Callable[[Path], None], read: Callable[[Path], object]
) -> Callable[[bytes, Path], object]:
    """A reader of a folder that is valid but for one file, which is given."""

    def reader(data: bytes, folder: Path) -> object:
        place = folder / "folder"
        if not place.exists():
            place.mkdir()
            make(place)
        (place / file).write_bytes(data)
        return read(place)

    return reader


def _seeds(make: Callable[[Path], Sequence[bytes]]) -> Callable[[Path], Draw]:
    return lambda folder: mutated(make(folder))


def _json_of(make: Callable[[Path], None], file: str) -> Callable[[Path], Draw]:
    def strategy(folder: Path) -> Draw:
        make(folder)
        return as_json([json.loads((folder / file).read_text("utf-8"))])

    return strategy


def _decode(data: bytes, folder: Path) -> None:
    with pillow_settings(_FIT):
        decode(Record("picture", lambda: data), _FIT)


def _table(value: tuple[str, bytes], folder: Path) -> None:
    table, _ = read_table(*value)
    understand(table.without("file_name"))


def _tables(folder: Path) -> Draw:
    rows = [
        {"file_name": "a.png", "label": "良品", "split": "train", "size": 1.5},
        {"file_name": "b.png", "group": "g"},
    ]
    text = "file_name,label,split,mask,size\na.png,x,train,m.png,1\nb.png,y,test,,2e3\n"
    lines = one_of(lines_of_json(rows), mutated(["\n".join(map(json.dumps, rows)).encode()]))
    csv = mutated([text.encode(), text.replace(",", ";").encode("utf-16"), text.replace(",", "\t").encode("cp932")])
    return one_of(lambda chance: ("a.jsonl", lines(chance)), lambda chance: ("a.csv", csv(chance)))


def _tree(name: str, data: bytes) -> Tree:
    tree = Tree("source", "source")
    for image in ("a.png", "b.png", "c/d.png"):
        tree.add(image, functools.partial(files.picture, "PNG"))
    tree.add(name, lambda: data)
    return tree


def _dataset_json(folder: Path) -> Draw:
    return as_json([{"labels": [["a.png", 1], ["b.png", 0], ["c/d.png", 1]]}, {"labels": None}])


def _named_outside(data: bytes, folder: Path) -> None:
    listing = list_tree(_tree("metadata.jsonl", data))
    assert all(record.name in ("a.png", "b.png", "c/d.png") for record in listing.records)  # noqa: S101 - what is measured


def _matching(folder: Path) -> Draw:
    return lines_of_json(
        [{"file_name": "a.png", "mask": "b.png"}, {"file_name": "./c/../b.png"}, {"file_name": "../a.png"}]
    )


def _zip(path: Path) -> None:
    tree = walk_zip(path, "zip")
    for content in tree.images.values():
        assert not isinstance(content, Path)  # noqa: S101 - nothing is unpacked
        content()


def _read_json_lines(path: Path) -> None:
    Journal(path.parent, "digits")


def _store(folder: Path) -> None:
    read_manifest(folder, files.KIND)
    TensorStore(folder, files.KIND).column("mean")


def _checkpoint(values: Any, folder: Path) -> None:
    place = folder / "step-1"
    shutil.rmtree(place, ignore_errors=True)
    files.forge_checkpoint(place, values)
    load_checkpoint(place)


def _checkpoint_values(folder: Path) -> Draw:
    return changed([files.checkpoint_values(folder)])


def _open_npz(path: Path) -> None:
    open_arrays(path, _FIT, str(path))


def _mark(path: Path) -> None:
    found = verify(path)
    if found.verdict == "damaged":
        raise UserError(found.reason)
    assert found.mark is None or isinstance(found.mark.tool, str)  # noqa: S101 - what is measured


def _xmp(data: bytes, folder: Path) -> None:
    try:
        from_xmp(data)
    except ValueError as error:  # as it says; `read_mark` names the file
        raise UserError(str(error)) from error


def _records(data: bytes, folder: Path) -> None:
    for name, read in ((RECORDS, read_records), (REVIEWS, read_reviews)):
        (folder / name).write_bytes(data)
        read(folder)


TARGETS = {
    "yaml": Target(4000, _yaml, _read_yaml),
    "config_values": Target(20000, lambda folder: changed(_configs()), _build),
    "cache_manifest": Target(
        6000, _json_of(files.make_cache, MANIFEST), _in_folder(MANIFEST, files.make_cache, _store)
    ),
    "cache_shard": Target(
        4000,
        _seeds(files.shard_of_cache),
        _in_folder("shard-00000.safetensors", files.make_cache, _store),
    ),
    "prepared_manifest": Target(
        2000,
        _json_of(files.make_prepared, PREPARED),
        _in_folder(PREPARED, files.make_prepared, lambda folder: list_source(str(folder))),
    ),
    "journal": Target(8000, _seeds(files.journals), _in_file(FILE, _read_json_lines)),
    "checkpoint": Target(3000, _checkpoint_values, _checkpoint),
    "safetensors": Target(8000, _seeds(files.safetensors), _in_file("a.safetensors", read_weights)),
    "torch_files": Target(
        2000, _seeds(files.torch_files), _in_file("a.pt", lambda path: load_dit_checkpoint(path, heads=2))
    ),
    "model_json": Target(
        4000, _json_of(files.make_model, "model.json"), _in_folder("model.json", files.make_model, model_spec)
    ),
    "model": Target(
        1000, _json_of(files.make_model, "model.json"), _in_folder("model.json", files.make_model, load_model)
    ),
    "diffusers_config": Target(
        1000,
        _json_of(files.make_diffusers, "transformer/config.json"),
        _in_folder("transformer/config.json", files.make_diffusers, load_diffusers_dit),
    ),
    "diffusers_scheduler": Target(
        700,
        _json_of(files.make_diffusers, "scheduler/scheduler_config.json"),
        _in_folder("scheduler/scheduler_config.json", files.make_diffusers, load_diffusers_dit),
    ),
    "images": Target(20000, _seeds(files.pictures), _decode),
    "idx": Target(10000, _seeds(files.idx_images), _in_file("train-images-idx3-ubyte", lambda path: read_idx(path, 3))),
    "tables": Target(20000, _tables, _table),
    "paths_in_tables": Target(10000, _matching, _named_outside),
    "dataset_json": Target(10000, _dataset_json, lambda data, folder: list_dataset_json(_tree(DATASET_JSON, data))),
    "npy": Target(6000, _seeds(files.npy), _in_file("images.npy", lambda path: open_array(path, _FIT, str(path)))),
    "npz": Target(3000, _seeds(files.npz), _in_file("a.npz", _open_npz)),
    "statistics": Target(2000, _seeds(files.statistics), _in_file("a.npz", read_statistics)),
    "zip": Target(3000, _seeds(files.zips), _in_file("a.zip", _zip)),
    "tar": Target(
        4000, _seeds(files.tars), _in_file("a.tar", lambda path: list_shards(parse_address(str(path)), [path]))
    ),
    "parquet": Target(600, _seeds(files.parquets), _in_file("a.parquet", lambda path: list_source(str(path)))),
    "marks": Target(8000, _seeds(files.marked), _in_file("a.png", _mark)),
    "xmp": Target(8000, lambda folder: mutated([to_xmp(files.mark()).encode()]), _xmp),
    "records": Target(4000, lambda folder: lines_of_json(files.records()), _records),
    "policy": Target(3000, lambda folder: mutated([files.POLICY]), _in_file("policy.yaml", read_policy)),
}
