"""Raw networks."""

from sadm.models.dit import DiT
from sadm.models.presets import DIT_NAMES, DIT_SIZES, dit_by_name

__all__ = ["DIT_NAMES", "DIT_SIZES", "DiT", "dit_by_name"]
