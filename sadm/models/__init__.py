"""Raw networks, the autoencoder in front of them, and adapters for the networks of others."""

from sadm.core.dit_sizes import DIT_NAMES, DIT_SIZES
from sadm.models.adapters import ModuleAdapter, UNetAdapter
from sadm.models.autoencoder import LatentCodec, Moments, autoencoder_hash
from sadm.models.dit import DiT
from sadm.models.presets import dit_by_name

__all__ = [
    "DIT_NAMES",
    "DIT_SIZES",
    "DiT",
    "LatentCodec",
    "ModuleAdapter",
    "Moments",
    "UNetAdapter",
    "autoencoder_hash",
    "dit_by_name",
]
