"""Reading a cache through memory-mapping: what a batch costs depends on the batch, not on the size of the cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from sadm.core.errors import UserError
from sadm.core.files import sha256_of_file
from sadm.data.cache.manifest import Manifest, Shard, read_manifest


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
        kind = self.manifest.tensors[name]
        out = torch.empty(len(rows), *kind.shape, dtype=getattr(torch, kind.dtype))
        shard = rows // self.manifest.per_shard  # [M]
        for number in shard.unique().tolist():
            here = (shard == number).nonzero().flatten()
            out[here] = self._shards[number][name][rows[here] - number * self.manifest.per_shard]
        return out

    def column(self, name: str) -> torch.Tensor:
        """One tensor of all images [N, ...]; for small ones."""
        return torch.cat([shard[name] for shard in self._shards])

    def damaged(self) -> list[str]:
        """Files of shards whose content is not what was written; reads everything."""
        return [shard.file for shard, whole in verify_shards(self.folder, self.manifest) if not whole]


def open_shard(folder: Path, manifest: Manifest, shard: Shard) -> dict[str, torch.Tensor]:
    """The tensors of a shard, mapped into memory.

    Raises:
        UserError: the file is missing, truncated, or holds other tensors than the manifest says.
    """
    path = folder / shard.file
    remedy = "Run the command that makes this cache again; it makes damaged shards anew."
    try:
        size = path.stat().st_size
        if size != shard.bytes:
            raise UserError(f"{path} is truncated or altered: {size} bytes, expected {shard.bytes}. {remedy}")
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in manifest.tensors}
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing. {remedy}") from error
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} can't be read: {error}. {remedy}") from error
    count = len(manifest.rows(shard.number))
    for name, kind in manifest.tensors.items():
        found = tensors[name]
        if found.dtype != getattr(torch, kind.dtype) or found.shape != (count, *kind.shape):
            raise UserError(
                f"{path}: {name} is {found.dtype} {list(found.shape)}; expected {kind.dtype} {[count, *kind.shape]}. {remedy}"
            )
    return tensors


def verify_shards(folder: Path, manifest: Manifest) -> Iterator[tuple[Shard, bool]]:
    """Each written shard, and whether its content is what was written."""
    for shard in manifest.shards:
        path = folder / shard.file
        yield shard, path.is_file() and path.stat().st_size == shard.bytes and sha256_of_file(path) == shard.sha256
