"""manifest.json of a cache: what its tensors are, of what they were made, and which shards are there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from sadm.core.config import Config, Count, Positive, build_config
from sadm.core.errors import UserError
from sadm.core.files import read_json, write_json

FORMAT = 1
MANIFEST = "manifest.json"

_MOST_SHARDS = 1_000_000

Fact = str | int | float | bool | None


class TensorKind(Config):
    """One of the tensors that are kept of each image."""

    dtype: Literal["float16", "float32", "float64", "int64"]
    """Of its numbers."""
    shape: tuple[Positive, ...]
    """Of one image's."""


class Shard(Config):
    """A file that holds all tensors of `Manifest.per_shard` images in a row (the last one of fewer)."""

    number: Count
    """From 0; image i is in shard i // per_shard."""
    bytes: Positive
    """Size of the file."""
    sha256: str
    """Of the file's content."""

    @property
    def file(self) -> str:
        """Its name in the cache's folder."""
        return shard_file(self.number)


class Manifest(Config):
    """What a cache holds."""

    format: int = FORMAT
    """Version of this layout."""
    kind: str
    """What the tensors are, such as "latents"."""
    about: dict[str, Fact]
    """What they were made of and how. A cache serves only who asks for the same."""
    made: dict[str, Any] = {}
    """Further facts for people; nothing depends on them."""
    count: Positive
    """Images."""
    per_shard: Positive
    """Images in a shard."""
    tensors: dict[str, TensorKind]
    """By name."""
    shards: tuple[Shard, ...] = ()
    """Those that are written, by number."""

    @model_validator(mode="after")
    def _can_be_counted(self) -> Manifest:
        if self.shard_count > _MOST_SHARDS:
            raise ValueError(
                f"{self.count} images, {self.per_shard} a shard, are {self.shard_count} shards; expected {_MOST_SHARDS} or less"
            )
        return self

    @property
    def shard_count(self) -> int:
        """Shards of the complete cache."""
        return -(-self.count // self.per_shard)

    @property
    def missing(self) -> list[int]:
        """Numbers of the shards that are not written yet."""
        written = {shard.number for shard in self.shards}
        return [number for number in range(self.shard_count) if number not in written]

    def rows(self, number: int) -> range:
        """The images of a shard."""
        return range(number * self.per_shard, min(self.count, (number + 1) * self.per_shard))

    def with_shard(self, shard: Shard) -> Manifest:
        """The manifest with one more shard, or with a new one in the place of an old one."""
        others = [other for other in self.shards if other.number != shard.number]
        return self.model_copy(update={"shards": tuple(sorted([*others, shard], key=lambda entry: entry.number))})

    def write(self, folder: Path) -> None:
        """Writes it to the cache's folder, atomically.

        Raises:
            UserError: the disk is full, the folder read-only or forbidden.
        """
        write_json(folder / MANIFEST, self.model_dump(mode="json"))


def read_manifest(folder: Path, kind: str) -> Manifest:
    """The manifest of the cache in a folder.

    Args:
        folder: of the cache.
        kind: what it has to hold.

    Raises:
        UserError: there is none, it is damaged, of another version or of another kind.
    """
    path = folder / MANIFEST
    try:
        values = read_json(path)
    except UserError as error:
        if not path.exists():
            raise
        raise UserError(f"{path} is damaged. Restore it, or delete {folder} to make it anew.") from error
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise UserError(
            f"{path} has format {found}; this version reads format {FORMAT}. Choose another folder, or delete {folder} to "
            "make it anew."
        )
    manifest = build_config(Manifest, values, str(path))
    if manifest.kind != kind:
        raise UserError(f"{folder} is a cache of {manifest.kind}; expected one of {kind}. Choose another folder.")
    return manifest


def shard_file(number: int) -> str:
    """Name of the file of a shard."""
    return f"shard-{number:05d}.safetensors"


def describe_differences(given: Mapping[str, Fact], stored: Mapping[str, Fact]) -> list[str]:
    """Lines ``key: stored X, given Y`` for every key of `given` in which `stored` differs; long checksums are cut short."""
    return [
        f"{key}: stored {_shown(stored.get(key))}, given {_shown(value)}"
        for key, value in given.items()
        if stored.get(key) != value
    ]


def _shown(value: Fact) -> str:
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else str(value)
