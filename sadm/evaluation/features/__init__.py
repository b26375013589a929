"""Feature spaces made by networks: FID's InceptionV3, DINOv2, models of timm and transformers, and one's own."""

from sadm.evaluation.features.extraction import extract
from sadm.evaluation.features.extractor import FORMS, Extractor, identity_of, open_extractor
from sadm.evaluation.features.inception import InceptionV3, load_inception

__all__ = ["FORMS", "Extractor", "InceptionV3", "extract", "identity_of", "load_inception", "open_extractor"]
