"""Fine-tuning: which parameters of a trained network learn, and how little has to be saved of it."""

from sadm.finetuning.branches import Branch, blocks, branches, register_block, register_branch
from sadm.finetuning.config import MERGEABLE, METHODS, FinetuneConfig, Method
from sadm.finetuning.tuning import Merged, class_tables, learned, load_learned, merge, share_that_learns, tune

__all__ = [
    "MERGEABLE",
    "METHODS",
    "Branch",
    "FinetuneConfig",
    "Merged",
    "Method",
    "blocks",
    "branches",
    "class_tables",
    "learned",
    "load_learned",
    "merge",
    "register_block",
    "register_branch",
    "share_that_learns",
    "tune",
]
