"""Defects on real good images: few defect images in, pairs of image and mask out."""

from sadm.applications.defects.layouts import LAYOUTS
from sadm.applications.defects.shapes import Place, Shapes
from sadm.applications.defects.synthesis import Pair, Request, synthesise

__all__ = ["LAYOUTS", "Pair", "Place", "Request", "Shapes", "synthesise"]
