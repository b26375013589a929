"""Raw networks."""

from sadm.models.dit import DiT

__all__ = ["DiT"]
