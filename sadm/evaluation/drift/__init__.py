"""Drift: are new images still like those that a model was trained on, and which drift would have been seen?"""

from sadm.evaluation.drift.measure import LEVEL, Drift, Finding, Monitor, units_of
from sadm.evaluation.drift.relabelling import Gaussian, Outcome, Relabelling, holm
from sadm.evaluation.drift.support import Support

__all__ = ["LEVEL", "Drift", "Finding", "Gaussian", "Monitor", "Outcome", "Relabelling", "Support", "holm", "units_of"]
