"""Published weights in and out: facebookresearch/DiT and SiT checkpoints, diffusers folders of DiTs and UNets, class tables."""

from sadm.models.weights.checkpoints import CheckpointFacts, load_dit_checkpoint
from sadm.models.weights.class_table import resize_class_table
from sadm.models.weights.files import read_weights
from sadm.models.weights.folders import DiffusersFacts, load_diffusers_dit
from sadm.models.weights.naming import check_for_diffusers, from_diffusers_state_dict, to_diffusers_state_dict
from sadm.models.weights.report import Entry, LoadReport
from sadm.models.weights.saving import save_diffusers_folder
from sadm.models.weights.scheduler import SchedulerFacts
from sadm.models.weights.unets import UNetFacts, holds_unet, load_diffusers_unet, save_unet_folder

__all__ = [
    "CheckpointFacts",
    "DiffusersFacts",
    "Entry",
    "LoadReport",
    "SchedulerFacts",
    "UNetFacts",
    "check_for_diffusers",
    "from_diffusers_state_dict",
    "holds_unet",
    "load_diffusers_dit",
    "load_diffusers_unet",
    "load_dit_checkpoint",
    "read_weights",
    "resize_class_table",
    "save_diffusers_folder",
    "save_unet_folder",
    "to_diffusers_state_dict",
]
