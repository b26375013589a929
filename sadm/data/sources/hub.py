"""Data sets of Hugging Face's hub, by name, and such as `datasets` saved on disk.

The images stay encoded until our own decoder reads them, so that its rules hold for every source.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sadm.core.errors import UserError
from sadm.core.optional import import_optional
from sadm.data.imageset import Note
from sadm.data.records import Content, Listing, Progress, Unreadable
from sadm.data.sources.address import Address
from sadm.data.sources.columns import Plan, Reach, Rows, cell_bytes, is_null, list_splits, masks_of, plan_columns
from sadm.data.sources.spool import Spool
from sadm.data.sources.words import first_line, parts_of_splits, quoted

_SAVED = (("dataset_dict.json",), ("dataset_info.json", "state.json"))  # of a DatasetDict, of a Dataset
_SECONDS = 5.0  # to wait for the hub's first answer
_BATCH = 16  # rows of masks read at a time
_JSON = "json"  # column of an object with further columns, in shards


def is_saved(folder: Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    return any(all((folder / name).is_file() for name in names) for names in _SAVED)


def list_saved(address: Address, progress: Progress | None = None) -> Listing:
    """Lists a `Dataset` or a `DatasetDict` that `save_to_disk` wrote; images are read from disk one by one.

    Raises:
        UserError: it is damaged, or its columns do not say what the images are.
    """
    datasets = import_optional("datasets", "hub", "reading a saved data set")
    try:
        loaded = datasets.load_from_disk(address.place)
    except Exception as error:  # pyarrow and datasets raise almost any type
        raise UserError(
            f"{address.place} cannot be read as a saved data set ({first_line(error)}). Save it again with save_to_disk."
        ) from error
    return _list_loaded(datasets, loaded, address, Reach((address.path,)), progress)


def list_hub(address: Address, progress: Progress | None = None) -> Listing:
    """Lists a data set of the hub: ``hub:OWNER/NAME[/CONFIG][@SPLIT]``.

    Without `rows` it is downloaded into the cache of `datasets`; with `rows`, the first rows of each split are streamed,
    and only they.

    Raises:
        UserError: there is no such data set, no network, or its columns do not say what the images are.
    """
    place, _, split = address.place.partition("@")
    names = place.strip("/").split("/")
    name, config = "/".join(names[:2]), "/".join(names[2:]) or None
    if not name:
        raise UserError(f"'{address.source}' names no data set; expected hub:OWNER/NAME, such as hub:ylecun/mnist.")
    datasets = import_optional("datasets", "hub", f"reading {address.source}")
    with _offline_if_unreachable(datasets) as offline:
        try:
            loaded = datasets.load_dataset(name, config, split=split or None, streaming=address.rows is not None)
            return _list_loaded(datasets, loaded, address, _reach_of_hub(datasets, name), progress)
        except UserError:
            raise
        except Exception as error:  # whatever is wrong with a data set or the network, datasets has a type for it
            raise UserError(_unopened(address, name, error, offline)) from error


def _list_loaded(datasets: Any, loaded: Any, address: Address, reach: Reach, progress: Progress | None) -> Listing:
    if isinstance(loaded, Mapping):
        parts = parts_of_splits(list(loaded), address.source, address.split(next(iter(loaded), "")))
        splits = {name: loaded[name] for name in parts}
        left_out = [name for name in loaded if name not in parts]
    else:
        splits, left_out = {str(loaded.split or "rows"): loaded}, []
        parts = dict.fromkeys(splits, "")
    features = next(iter(splits.values())).features
    plan = plan_columns(_spread(features or {}), address)
    read = _streamed if isinstance(next(iter(splits.values())), datasets.IterableDataset) else _stored
    rows = [read(_Source(datasets, address, reach), splits[name], plan, name, parts[name], progress) for name in splits]
    listing = list_splits(address, plan, rows)
    if left_out:
        listing.notes.append(Note(address.source, f"splits that name no part are left out: {quoted(left_out)}"))
    return listing


@dataclasses.dataclass(frozen=True)
class _Source:
    """What all splits have in common."""

    datasets: Any
    address: Address
    reach: Reach


def _reach_of_hub(datasets: Any, name: str) -> Reach:
    """The hub, its caches on this machine, and the folder that stands for a data set where one has its name."""
    config, hub = datasets.config, import_optional("huggingface_hub", "hub", "reading data sets of the hub")
    folders = (name, config.HF_DATASETS_CACHE, hub.constants.HF_HUB_CACHE)
    here = tuple(Path(folder) for folder in folders[not Path(name).is_dir() :])
    return Reach(here, ("hf://", f"{config.HF_ENDPOINT}/"))


def _stored(source: _Source, split: Any, plan: Plan, name: str, part: str, progress: Progress | None) -> Rows:
    """Rows that lie on disk; images are read from there when they are needed."""
    split = split.with_format(None)
    if source.address.rows is not None:
        split = split.select(range(min(source.address.rows, len(split))))
    nested = split[_JSON][:] if _JSON in split.column_names else []
    cells: dict[str, Sequence[Any]] = {}
    for column in plan.columns:
        is_nested = column not in split.column_names
        cells[column] = [(row or {}).get(column) for row in nested] if is_nested else split[column][:]

    def encoded(column: str) -> Any:
        return _undecoded(source.datasets, split, column).select_columns([column])

    def contents(column: str) -> list[Content]:
        rows = encoded(column)
        return [_reader(rows, column, i, source.reach) for i in range(len(rows))]

    masks = None
    if plan.mask is not None:
        empty = [is_null(cell) for batch in encoded(plan.mask).iter(_BATCH) for cell in batch[plan.mask]]
        masks = masks_of(contents(plan.mask), empty)
    return Rows(name, part, cells, contents(plan.image), masks)


def _reader(encoded: Any, column: str, row: int, reach: Reach) -> Callable[[], bytes]:
    return lambda: cell_bytes(encoded[row][column], reach)


def _streamed(source: _Source, split: Any, plan: Plan, name: str, part: str, progress: Progress | None) -> Rows:
    """The first rows as they arrive; images are kept in a temporary file."""
    spool, images, masks = Spool(), list[Content](), list[Content | None]()
    cells: dict[str, list[Any]] = {column: [] for column in plan.columns}
    for column in filter(None, (plan.image, plan.mask)):
        split = _undecoded(source.datasets, split, column)
    for row in split.take(source.address.rows):
        flat = {**(row.get(_JSON) or {}), **row} if isinstance(row.get(_JSON), dict) else row
        for column, values in cells.items():
            values.append(flat[column])
        images.append(_kept(row[plan.image], source.reach, spool))
        if plan.mask is not None:
            mask = row[plan.mask]
            masks.append(None if is_null(mask) else _kept(mask, source.reach, spool))
        if progress is not None:
            progress(len(images), source.address.rows or 0)
    return Rows(name, part, cells, images, masks if plan.mask is not None else None)


def _kept(cell: Any, reach: Reach, spool: Spool) -> Content:
    try:
        return spool.keep(cell_bytes(cell, reach))
    except (Unreadable, OSError) as error:
        return _failing(first_line(error))


def _failing(reason: str) -> Callable[[], bytes]:
    def read() -> bytes:
        raise Unreadable(reason)

    return read


def _undecoded(datasets: Any, split: Any, column: str) -> Any:
    """The split with images as bytes; a column of bytes, without the type of an image, stays as it is."""
    if isinstance(split.features[column], datasets.Image):
        return split.cast_column(column, datasets.Image(decode=False))
    return split


def _spread(features: Mapping[str, Any]) -> dict[str, Any]:
    """The columns, and those of the objects in a column `json`, which shards have."""
    nested = features.get(_JSON)
    return (
        {**nested, **{name: kind for name, kind in features.items() if name != _JSON}}
        if isinstance(nested, dict)
        else {**features}
    )


@contextlib.contextmanager
def _offline_if_unreachable(datasets: Any) -> Iterator[bool]:
    """Keeps the libraries of the hub from trying for half a minute what one attempt shows not to work.

    Yields whether the hub is out of reach; what is in its cache is still found then.
    """
    hub = import_optional("huggingface_hub", "hub", "reading data sets of the hub")
    switches = (datasets.config, hub.constants)
    before = [module.HF_HUB_OFFLINE for module in switches]
    offline = any(before) or not _reachable(datasets.config.HF_ENDPOINT)
    for module in switches:
        module.HF_HUB_OFFLINE = offline
    try:
        yield offline
    finally:
        for module, value in zip(switches, before, strict=True):
            module.HF_HUB_OFFLINE = value


def _reachable(endpoint: str) -> bool:
    if {"https", "http", "all"} & urllib.request.getproxies().keys():
        return True  # behind a proxy, no direct answer means nothing
    address = urllib.parse.urlsplit(endpoint)
    try:
        with socket.create_connection((address.hostname, address.port or 443), timeout=_SECONDS):
            return True
    except OSError:
        return False


def _unopened(address: Address, name: str, error: Exception, offline: bool) -> str:
    if offline:
        return (
            f"{address.source}: Hugging Face's hub cannot be reached, and '{name}' is not in its cache on this machine. Check "
            "the network (or HF_HUB_OFFLINE, HTTPS_PROXY). Or download the data set elsewhere, save it with save_to_disk, and "
            "give the folder."
        )
    return (
        f"{address.source} cannot be read from the hub: {first_line(error)}. Expected hub:OWNER/NAME[/CONFIG][@SPLIT], such as "
        "hub:ylecun/mnist@train; for a data set behind a login, run `hf auth login` first."
    )
