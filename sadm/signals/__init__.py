"""Training signals: what a training step adds to the denoising gradient, each in a file of its own."""

from sadm.signals.anchor import AnchorSignal, row_divergence
from sadm.signals.contrastive import ContrastiveSignal
from sadm.signals.dispersive import DispersiveSignal, dispersive_loss
from sadm.signals.embeddings import embedding_of, parts_of
from sadm.signals.features import FeatureLoss, feature_signal
from sadm.signals.hidden import HiddenStructureSignal
from sadm.signals.known import KnownStructure, OfAttributes, of_classes
from sadm.signals.labels import LabelLoss, label_signal
from sadm.signals.places import FeaturesAtPlaces, tokens_of
from sadm.signals.pointwise import Balancing, PointwiseLoss, PointwiseSignal
from sadm.signals.repa import RepaSignal, build_projector
from sadm.signals.sampled import SampledSignal
from sadm.signals.signal import SignalStep, TrainingSignal, account_of, taps_of, users_of_source
from sadm.signals.source import Source, SourceEncoder
from sadm.signals.structure import StructureSignal
from sadm.signals.taps import Recorded, Taps, tapped

__all__ = [
    "AnchorSignal",
    "Balancing",
    "ContrastiveSignal",
    "DispersiveSignal",
    "FeatureLoss",
    "FeaturesAtPlaces",
    "HiddenStructureSignal",
    "KnownStructure",
    "LabelLoss",
    "OfAttributes",
    "PointwiseLoss",
    "PointwiseSignal",
    "Recorded",
    "RepaSignal",
    "SampledSignal",
    "SignalStep",
    "Source",
    "SourceEncoder",
    "StructureSignal",
    "Taps",
    "TrainingSignal",
    "account_of",
    "build_projector",
    "dispersive_loss",
    "embedding_of",
    "feature_signal",
    "label_signal",
    "of_classes",
    "parts_of",
    "row_divergence",
    "tapped",
    "taps_of",
    "tokens_of",
    "users_of_source",
]
