"""Filling unbalanced classes with images of a model that were filtered, and measuring what that is worth."""

from sadm.applications.augment.filters import FILTERS
from sadm.applications.augment.running import FACTS, augment
from sadm.applications.augment.settings import AugmentSettings

__all__ = ["FACTS", "FILTERS", "AugmentSettings", "augment"]
