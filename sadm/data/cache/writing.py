"""Writing a cache shard by shard, such that whatever interrupts it, the same call goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from sadm.core.errors import UserError
from sadm.core.files import refuse_foreign_folder, remove_leftovers, write_atomically
from sadm.data.cache.manifest import MANIFEST, Manifest, Shard, describe_differences, read_manifest, shard_file
from sadm.data.cache.store import verify_shards


class StoreWriter:
    """A cache that is being made: a new one, or what is left of one that was begun.

    A shard counts from the moment at which the manifest lists it, and that is written after the shard itself. Listed shards
    are read once and checked; those that are damaged or lost are to be made anew. The caller keeps other processes out.

    Args:
        folder: of the cache; exists.
        plan: the manifest, without shards.
        say: told about damaged shards.

    Raises:
        UserError: the folder holds other files or another cache, or can't be written to.
    """

    def __init__(self, folder: Path, plan: Manifest, say: Callable[[str], None]) -> None:
        refuse_foreign_folder(folder, MANIFEST, f"cache of {plan.kind}", ignoring=(".lock",))
        self.folder, self.manifest = folder, plan
        remove_leftovers(folder)
        if (folder / MANIFEST).exists():
            stored = read_manifest(folder, plan.kind)
            refuse_other_cache(folder, plan, stored)
            checked = list(verify_shards(folder, stored))
            damaged = [shard.file for shard, whole in checked if not whole]
            if damaged:
                say(f"Making anew what is damaged or lost in {folder}: {', '.join(damaged)}")
            whole = tuple(shard for shard, whole in checked if whole)
            self.manifest = stored.model_copy(update={"shards": whole})
        if self.manifest.missing:
            self.manifest.write(folder)  # also to learn at once whether the folder can be written to

    @property
    def missing(self) -> list[int]:
        """Numbers of the shards that are still to be added."""
        return self.manifest.missing

    def add(self, number: int, content: bytes) -> None:
        """Writes a shard.

        Args:
            number: of the shard.
            content: the bytes of a safetensors file with all tensors of its images.

        Raises:
            UserError: the disk is full, the folder read-only or forbidden; what was added before stays.
        """
        shard = Shard(number=number, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        write_atomically(self.folder / shard_file(number), content)
        manifest = self.manifest.with_shard(shard)
        manifest.write(self.folder)
        self.manifest = manifest


def refuse_other_cache(folder: Path, plan: Manifest, stored: Manifest) -> None:
    """Refuses a cache that holds something else than `plan`, naming the keys.

    Raises:
        UserError: what is stored, what was given, and what to do.
    """
    changed = describe_differences({**plan.about, "count": plan.count}, {**stored.about, "count": stored.count})
    if changed:
        raise UserError(
            f"{folder} holds other {plan.kind} ({'; '.join(changed)}). Give the stored values, choose another folder, or "
            "delete this one to make it anew."
        )
    laid_out = {name: (kind.dtype, kind.shape) for name, kind in stored.tensors.items()}
    wanted = {name: (kind.dtype, kind.shape) for name, kind in plan.tensors.items()}
    if laid_out != wanted or stored.per_shard != plan.per_shard:
        raise UserError(
            f"{folder} holds {plan.kind} laid out by another version of this program. Choose another folder, or delete this "
            "one to make it anew."
        )
