"""The kinds of sources that are told by what lies at a path, in the order in which they are tried."""

from __future__ import annotations

import dataclasses
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from sadm.core.errors import UserError
from sadm.data.decoding import EXTENSIONS
from sadm.data.fitting import Fit
from sadm.data.imageset import ImageSet, Split
from sadm.data.records import Listing, Progress
from sadm.data.sources import metadata, parquet
from sadm.data.sources.address import Address
from sadm.data.sources.dataset_json import DATASET_JSON, list_dataset_json
from sadm.data.sources.folders import list_classes, list_image
from sadm.data.sources.hub import is_saved, list_hub, list_saved
from sadm.data.sources.idx import holds_idx, open_idx
from sadm.data.sources.numpy_files import MAGIC as ARRAY_MAGIC
from sadm.data.sources.numpy_files import open_array, open_arrays
from sadm.data.sources.shards import is_pattern, list_shards, shard_files
from sadm.data.sources.trees import Tree, walk_folder
from sadm.data.sources.zips import holds_arrays, walk_zip

Lists = Callable[[Address, Progress | None], Listing]
Opens = Callable[[Address, Fit], ImageSet | Split]


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of source.

    Attributes:
        name: what it is, for messages.
        example: what a user would type.
        fits: whether a source is of this kind, judged by what lies at its path.
        lists: lists its encoded images; None where it holds none.
        opens: opens a source of arrays; None where it is listed.
        takes_options: whether it has rows and columns that options can name.
    """

    name: str
    example: str
    fits: Callable[[Address], bool]
    lists: Lists | None = None
    opens: Opens | None = None
    takes_options: bool = False


def find_kind(address: Address) -> Kind:
    """The first kind that fits what lies at a path that exists.

    Raises:
        UserError: it is a file of no kind, cannot be read, or was given options that mean nothing to its kind.
    """
    try:
        kind = next((kind for kind in KINDS if kind.fits(address)), None)
    except OSError as error:
        raise UserError(f"cannot read {address.place}: {error.strerror}. Check its permissions.") from error
    if kind is None:
        raise UserError(
            f"{address.place} is a file; expected a folder with images. Give the folder that holds it, or a file of another "
            f"kind:\n{kinds_with_examples()}"
        )
    if address.has_options and not kind.takes_options:
        raise UserError(
            f"'{address.source}' is {kind.name}, in which options such as ?rows=5000 have no meaning. Give {address.place} alone."
        )
    return kind


def kinds_with_examples() -> str:
    """A line for each kind, for messages."""
    return "\n".join(f"  {kind.example:<28}{kind.name}" for kind in KINDS)


def list_tree(tree: Tree) -> Listing:
    """Lists the images of a folder or an archive: by dataset.json, else by its metadata, else by the folders within."""
    if DATASET_JSON in tree.others:
        return list_dataset_json(tree)
    return metadata.list_metadata(tree) if metadata.metadata_names(tree) else list_classes(tree)


def _starts_with(*magic: bytes) -> Callable[[Address], bool]:
    def fits(address: Address) -> bool:
        if not os.path.isfile(address.place):
            return False
        with open(address.place, "rb") as file:
            return file.read(max(map(len, magic))).startswith(magic)

    return fits


def _is_npz(address: Address) -> bool:
    return _is_zip(address) and holds_arrays(address.path)


def _is_metadata(address: Address) -> bool:
    return os.path.isfile(address.place) and address.path.suffix.lower() in metadata.EXTENSIONS


def _is_shards(address: Address) -> bool:
    if is_pattern(address.place):
        return True
    if os.path.isdir(address.place):
        return _alone(lambda folder: shard_files(str(folder)))(address.path)
    return os.path.isfile(address.place) and tarfile.is_tarfile(address.place)


def _alone(files: Callable[[Path], Sequence[Path]]) -> Callable[[Path], bool]:
    """Whether a folder holds such files and is no folder of images that happens to hold one, too."""

    def fits(folder: Path) -> bool:
        if not files(folder):
            return False
        with os.scandir(folder) as entries:
            others = [entry for entry in entries if not entry.name.startswith(".") and entry.name != parquet.DATA]
            return not any(entry.is_dir() or Path(entry.name).suffix.lower() in EXTENSIONS for entry in others)

    return fits


def _in_folder(fits: Callable[[Path], object]) -> Callable[[Address], bool]:
    return lambda address: os.path.isdir(address.place) and bool(fits(address.path))


def _list_metadata(address: Address, progress: Progress | None) -> Listing:
    return metadata.list_metadata(walk_folder(address.path.parent, address.source), [address.path.name])


def _list_shards(address: Address, progress: Progress | None) -> Listing:
    files = [address.path] if os.path.isfile(address.place) else shard_files(address.place)
    return list_shards(address, files, progress)


def _list_parquet(address: Address, progress: Progress | None) -> Listing:
    files = [address.path] if os.path.isfile(address.place) else parquet.parquet_files(address.path)
    return parquet.list_parquet(address, files, progress)


_is_zip = _starts_with(b"PK\x03\x04", b"PK\x05\x06")

KINDS = (
    Kind(
        "a data set of Hugging Face's hub", "hub:OWNER/NAME", lambda address: address.hub, list_hub, takes_options=True
    ),
    Kind(
        "an array of images",
        "images.npy",
        _starts_with(ARRAY_MAGIC),
        opens=lambda address, fit: open_array(address.path, fit, address.source),
    ),
    Kind(
        "arrays of images and labels",
        "batch.npz",
        _is_npz,
        opens=lambda address, fit: open_arrays(address.path, fit, address.source),
    ),
    Kind(
        "a zip of images",
        "images.zip",
        _is_zip,
        lambda address, progress: list_tree(walk_zip(address.path, address.source)),
    ),
    Kind("a Parquet file", "train.parquet", _starts_with(parquet.MAGIC), _list_parquet, takes_options=True),
    Kind("WebDataset shards", "'train-{000..009}.tar'", _is_shards, _list_shards, takes_options=True),
    Kind("a table that names images", "photos/parts.csv", _is_metadata, _list_metadata),
    Kind(
        "one image, or the pages of a scan",
        "drawing.tif",
        lambda address: os.path.isfile(address.place) and address.path.suffix.lower() in EXTENSIONS,
        lambda address, progress: list_image(address.path, address.source),
    ),
    Kind("a saved data set", "saved/", _in_folder(is_saved), list_saved, takes_options=True),
    Kind(
        "a folder of IDX files",
        "mnist/",
        _in_folder(holds_idx),
        opens=lambda address, fit: open_idx(address.path, fit, source=address.source),
    ),
    Kind(
        "a folder of Parquet files",
        "parquet/",
        _in_folder(_alone(parquet.parquet_files)),
        _list_parquet,
        takes_options=True,
    ),
    Kind(
        "a folder of images",
        "path/to/images/",
        lambda address: os.path.isdir(address.place),
        lambda address, progress: list_tree(walk_folder(address.path, address.source)),
    ),
)
"""In the order in which they are tried; what a file holds decides, not what it is called (a table apart)."""
