"""Published weights in and out: facebookresearch/DiT and SiT checkpoints, diffusers folders, class tables."""

from sadm.models.weights.checkpoints import CheckpointFacts, load_dit_checkpoint
from sadm.models.weights.files import read_weights
from sadm.models.weights.report import Entry, LoadReport

__all__ = ["CheckpointFacts", "Entry", "LoadReport", "load_dit_checkpoint", "read_weights"]
