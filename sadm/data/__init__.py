"""Images from a built-in set or a folder: checked, labelled, split and cut into reproducible batches."""

from sadm.data.batches import Batch, BatchStream
from sadm.data.imageset import ImageSet, Note, Skipped, Split, Tile, to_uint8
from sadm.data.order import EpochOrder, class_order
from sadm.data.prefetch import Prefetcher
from sadm.data.sources import BUILT_IN_SOURCES, load_split, open_source
from sadm.data.splitting import never_held_out
from sadm.data.surfaces import MATERIALS, SURFACE_CLASSES, Surface, surface

__all__ = [
    "BUILT_IN_SOURCES",
    "MATERIALS",
    "SURFACE_CLASSES",
    "Batch",
    "BatchStream",
    "EpochOrder",
    "ImageSet",
    "Note",
    "Prefetcher",
    "Skipped",
    "Split",
    "Surface",
    "Tile",
    "class_order",
    "load_split",
    "never_held_out",
    "open_source",
    "surface",
    "to_uint8",
]
