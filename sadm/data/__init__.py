"""Images from a built-in set or a folder: checked, labelled, split and cut into reproducible batches."""

from sadm.data.augment import Augmentation, Augmenter
from sadm.data.batches import Batch, BatchStream
from sadm.data.buckets import BucketedStream
from sadm.data.fitting import Fit
from sadm.data.imageset import ImageSet, Note, Skipped, Split, Tile, image_keys, to_floats, to_uint8
from sadm.data.order import EpochOrder, class_order
from sadm.data.prefetch import Prefetcher
from sadm.data.sources import BUILT_IN_SOURCES, load_split, open_source
from sadm.data.splitting import never_held_out
from sadm.data.surfaces import MATERIALS, SURFACE_CLASSES, Surface, surface
from sadm.data.tiles import assemble, tile_positions

__all__ = [
    "BUILT_IN_SOURCES",
    "MATERIALS",
    "SURFACE_CLASSES",
    "Augmentation",
    "Augmenter",
    "Batch",
    "BatchStream",
    "BucketedStream",
    "EpochOrder",
    "Fit",
    "ImageSet",
    "Note",
    "Prefetcher",
    "Skipped",
    "Split",
    "Surface",
    "Tile",
    "assemble",
    "class_order",
    "image_keys",
    "load_split",
    "never_held_out",
    "open_source",
    "surface",
    "tile_positions",
    "to_floats",
    "to_uint8",
]
