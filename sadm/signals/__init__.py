"""Training signals: what a training step adds to the denoising gradient, each in a file of its own."""

from sadm.signals.signal import SignalStep, TrainingSignal
from sadm.signals.structure import StructureSignal

__all__ = ["SignalStep", "StructureSignal", "TrainingSignal"]
