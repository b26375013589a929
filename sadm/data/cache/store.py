"""Reading a cache through memory-mapping: what a batch costs depends on the batch, not on the size of the cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from sadm.core.errors import UserError
from sadm.core.files import parse_json, sha256_of_file
from sadm.data.cache.manifest import Manifest, Shard, TensorKind, read_manifest

_REMEDY = "Run the command that makes this cache again; it makes damaged shards anew."
_TYPES = {"float16": ("F16", "<f2"), "float32": ("F32", "<f4"), "float64": ("F64", "<f8"), "int64": ("I64", "<i8")}
"""By name, what a dtype is called in a safetensors file and in numpy."""


class _Damaged(Exception):  # noqa: N818 - a verdict on a file
    """What is wrong with a file, to be said after its path."""


class TensorStore:
    """The tensors of a complete cache, by image.

    Every shard is mapped into memory, not read; the operating system loads and drops pages as they are used. Nothing is
    written, so the folder may be read-only.

    Args:
        folder: of the cache.
        kind: what it has to hold (see `Manifest.kind`).

    Raises:
        UserError: there is no such cache, it is incomplete, or a shard is missing, truncated or of other shapes. Contents are
            checked by `damaged`, since that reads everything.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.manifest = folder, read_manifest(folder, kind)
        missing = self.manifest.missing
        if missing:
            raise UserError(
                f"{folder} is incomplete: {len(missing)} of {self.manifest.shard_count} shards are missing. Run the command "
                "that makes it again; it makes what is missing."
            )
        self._shards = [open_shard(folder, self.manifest, shard) for shard in self.manifest.shards]

    def __len__(self) -> int:
        return self.manifest.count

    def read(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        """One tensor of some images.

        Args:
            name: of the tensor.
            rows: which images [M], int64.

        Returns:
            [M, ...], in the stored dtype.
        """
        kind = self._kind_of(name)
        out = np.empty((len(rows), *kind.shape), kind.dtype)
        for place, row in enumerate(rows.tolist()):
            number, local = divmod(row, self.manifest.per_shard)
            out[place] = self._shards[number][name][local]
        return torch.from_numpy(out)

    def column(self, name: str) -> torch.Tensor:
        """One tensor of all images [N, ...]; for small ones."""
        self._kind_of(name)
        return torch.cat([torch.from_numpy(shard[name].copy()) for shard in self._shards])

    def _kind_of(self, name: str) -> TensorKind:
        """Dtype and shape of a tensor; a UserError where this cache keeps no such tensor."""
        if name not in self.manifest.tensors:
            raise UserError(f"{self.folder} keeps no {name} of its images. {_REMEDY}")
        return self.manifest.tensors[name]

    def damaged(self) -> list[str]:
        """Files of shards whose content is not what was written; reads everything."""
        return [shard.file for shard, whole in verify_shards(self.folder, self.manifest) if not whole]


def open_shard(folder: Path, manifest: Manifest, shard: Shard) -> dict[str, np.ndarray]:
    """The tensors of a shard, mapped into memory.

    Raises:
        UserError: the file is missing, truncated, or holds other tensors than the manifest says.
    """
    path, count = folder / shard.file, len(manifest.rows(shard.number))
    expected = {name: (kind.dtype, (count, *kind.shape)) for name, kind in manifest.tensors.items()}
    try:
        size = path.stat().st_size
        if size != shard.bytes:
            raise _Damaged(f"is truncated or altered: {size} bytes, expected {shard.bytes}")
        return _map(path, expected)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing. {_REMEDY}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error}.") from error
    except _Damaged as damage:
        raise UserError(f"{path} {damage}. {_REMEDY}") from damage


def _map(path: Path, expected: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file as arrays that are read where they are used.

    Not by the library's own `safe_open`: for torch it maps files as private, writable memory, which a system that keeps account
    of promised memory refuses beyond what it has.

    Raises:
        _Damaged: the file holds no such tensors.
    """
    whole = np.memmap(path, np.uint8, "r")
    start = 8 + int(whole[:8].view("<u8")[0]) if len(whole) > 8 else 0
    try:
        header = parse_json(whole[8:start].tobytes())
        arrays = {}
        for name, (dtype, shape) in expected.items():
            code, number = _TYPES[dtype]
            found, place = header[name], header[name]["data_offsets"]
            if (found["dtype"], tuple(found["shape"])) != (code, shape):
                raise _Damaged(f"holds {name} as {found['dtype']} {found['shape']}; expected {code} {list(shape)}")
            part = np.asarray(whole[start + place[0] : start + place[1]])  # not a memmap, which is slow to index
            arrays[name] = part.view(number).reshape(shape)
        return arrays
    except (ValueError, TypeError, KeyError) as error:
        raise _Damaged(f"is not what was written ({type(error).__name__}: {error})") from error


def verify_shards(folder: Path, manifest: Manifest) -> Iterator[tuple[Shard, bool]]:
    """Each written shard, and whether its content is what was written."""
    for shard in manifest.shards:
        path = folder / shard.file
        yield shard, path.is_file() and path.stat().st_size == shard.bytes and sha256_of_file(path) == shard.sha256
