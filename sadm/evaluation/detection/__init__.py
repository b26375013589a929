"""Does an inspection find real defects better when generated ones are added to what it is trained on?"""

from sadm.evaluation.detection.detector import DetectorSettings, defect_maps
from sadm.evaluation.detection.measure import Examples, measure_detection
from sadm.evaluation.detection.pasting import pasted
from sadm.evaluation.detection.scores import Found, area_under_roc, average_precision

__all__ = [
    "DetectorSettings",
    "Examples",
    "Found",
    "area_under_roc",
    "average_precision",
    "defect_maps",
    "measure_detection",
    "pasted",
]
