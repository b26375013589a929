"""Representation quality: how plainly a denoiser's own features tell classes apart."""

from sadm.evaluation.representation.activations import SIGMAS, Activations, blocks_of
from sadm.evaluation.representation.corruptions import CORRUPTIONS
from sadm.evaluation.representation.measure import measure_representation
from sadm.evaluation.representation.probes import PROBES, fitted

__all__ = ["CORRUPTIONS", "PROBES", "SIGMAS", "Activations", "blocks_of", "fitted", "measure_representation"]
