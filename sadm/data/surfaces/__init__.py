"""Inspection photographs that the project makes itself: metal, fabric and castings, with defects and their masks."""

from sadm.data.surfaces.generate import MATERIALS, SURFACE_CLASSES, Surface, surface
from sadm.data.surfaces.source import is_surfaces, open_surfaces, parse_settings

__all__ = ["MATERIALS", "SURFACE_CLASSES", "Surface", "is_surfaces", "open_surfaces", "parse_settings", "surface"]
