"""Images from a built-in set or a folder: checked, labelled, split and cut into reproducible batches."""

from sadm.data.augment import Augmentation, Augmenter
from sadm.data.batches import Batch, BatchStream
from sadm.data.imageset import ImageSet, Note, Skipped, Split, Tile, to_uint8
from sadm.data.sources import BUILT_IN_SOURCES, load_split, open_source

__all__ = [
    "BUILT_IN_SOURCES",
    "Augmentation",
    "Augmenter",
    "Batch",
    "BatchStream",
    "ImageSet",
    "Note",
    "Skipped",
    "Split",
    "Tile",
    "load_split",
    "open_source",
    "to_uint8",
]
