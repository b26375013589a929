"""Tensors of each image on disk: safetensors shards and a manifest that says what they are."""

from sadm.data.cache.manifest import MANIFEST, Fact, Manifest, Shard, TensorKind, describe_differences, read_manifest
from sadm.data.cache.store import TensorStore
from sadm.data.cache.writing import StoreWriter

__all__ = [
    "MANIFEST",
    "Fact",
    "Manifest",
    "Shard",
    "StoreWriter",
    "TensorKind",
    "TensorStore",
    "describe_differences",
    "read_manifest",
]
