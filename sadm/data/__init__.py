"""Images from a built-in set or a folder: checked, labelled, split and cut into reproducible batches."""

from sadm.data.batches import Batch, BatchStream
from sadm.data.buckets import BucketedStream
from sadm.data.fitting import Fit
from sadm.data.imageset import ImageSet, Note, Skipped, Split, Tile, to_uint8
from sadm.data.sources import BUILT_IN_SOURCES, load_split, open_buckets, open_source
from sadm.data.tiles import assemble, tile_positions

__all__ = [
    "BUILT_IN_SOURCES",
    "Batch",
    "BatchStream",
    "BucketedStream",
    "Fit",
    "ImageSet",
    "Note",
    "Skipped",
    "Split",
    "Tile",
    "assemble",
    "load_split",
    "open_buckets",
    "open_source",
    "tile_positions",
    "to_uint8",
]
