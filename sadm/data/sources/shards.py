"""WebDataset shards: tar files in which the files of one sample follow each other and share a name up to the first dot.

``0001.jpg`` is the image, ``0001.cls`` its class, ``0001.json`` an object whose keys `tables.understand` reads as columns,
``0001.mask.png`` its mask. Nothing is unpacked: the tars are read where the images lie.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import posixpath
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sadm.core.errors import UserError
from sadm.core.files import parse_json
from sadm.data.decoding import EXTENSIONS
from sadm.data.imageset import Note, Skipped
from sadm.data.records import Content, Listing, Progress, Record, Unreadable, examples, readable_name
from sadm.data.sources.address import Address, RowsLeft
from sadm.data.sources.columns import USUAL_LABELS
from sadm.data.sources.tables import LABELS, Table, columns_named, json_number, understand
from sadm.data.sources.words import ordered, parts_of_files, quoted

_CLASS, _JSON, _MASK = "cls", "json", "mask."
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]+)\.\.([0-9]+)")
_BLOCK = 512  # bytes
_MOST_SAID = 1 << 24  # bytes of a sample's class or object


@dataclasses.dataclass
class _Sample:
    """Files of one tar that share a key.

    Attributes:
        name: the tar and the key.
        images: what reads each image or mask, by its extension after the key.
        row: what the sample says of itself.
        others: extensions that mean nothing here.
        problem: why it cannot be used.
    """

    name: str
    images: dict[str, Content] = dataclasses.field(default_factory=dict)
    row: dict[str, Any] = dataclasses.field(default_factory=dict)
    others: set[str] = dataclasses.field(default_factory=set)
    problem: str = ""


def shard_files(place: str) -> list[Path]:
    """The tars that a folder holds, or that a pattern such as ``train-{000..009}.tar`` names; in order.

    Raises:
        UserError: some of the files that the pattern names do not exist.
    """
    if not _BRACES.search(place):
        return sorted(Path(place).glob("*.tar"))
    paths = [Path(name) for name in _expanded(place)]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing or not paths:
        raise UserError(
            f"'{place}' stands for {len(paths)} files, of which {len(missing)} do not exist: {quoted(missing)}. Correct the "
            "pattern, or bring the files there."
        )
    return paths


def is_pattern(place: str) -> bool:
    """Whether a path names several tars in braces."""
    return place.endswith(".tar") and _BRACES.search(place) is not None


def list_shards(address: Address, files: Sequence[Path], progress: Progress | None = None) -> Listing:
    """Lists the samples of some shards, in their order; see `parts_of_files` for which are held out.

    Raises:
        UserError: a file is no tar or is compressed, some samples have a class and others none, or a sample has several images.
    """
    listing, left, names = Listing(address.source), RowsLeft(address), [path.name for path in files]
    if len(set(names)) < len(names):
        names = [path.as_posix() for path in files]
    samples: list[_Sample] = []
    parts: list[str] = []
    for i, part in enumerate(parts_of_files([path.as_posix() for path in files])):
        found = list(itertools.islice(_samples(files[i], names[i], listing), left.of(part)))
        left.take(part, len(found))
        samples += found
        parts += [part] * len(found)
        if progress is not None:
            progress(i + 1, len(files))
    _list_samples(address, samples, parts, listing)
    return listing


def _samples(path: Path, shard: str, listing: Listing) -> Iterator[_Sample]:
    """The samples of one tar, called `shard`; where it is damaged, those in front of the damage."""
    sample: _Sample | None = None
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                folder, name = posixpath.split(member.name)
                key, dot, field = name.partition(".")
                if (
                    member.size < 0 or member.offset_data < 0
                ):  # in a forged header, which would lead back and forth for ever
                    raise tarfile.ReadError("a header is damaged")
                if not member.isfile() or member.issparse() or not key or not dot:
                    continue
                name = f"{shard}/{readable_name(posixpath.join(folder, key))}"
                if sample is None or sample.name != name:
                    if sample is not None:
                        yield sample
                    sample = _Sample(name)
                _add(sample, field.lower(), path, archive, member)
            if any(_block_at(path, archive.offset)):  # tarfile takes a damaged header for the end
                raise tarfile.ReadError("a header is damaged")
    except (tarfile.TarError, ValueError, EOFError, OverflowError, MemoryError) as error:  # of damaged headers
        if sample is None:
            raise UserError(
                f"{path} is no tar that can be read ({error}); expected one that is not compressed. Unpack it with gunzip or "
                "the like, or copy it again."
            ) from error
        sample.problem = "the tar is damaged behind it, so that it may lack files"
        listing.skipped.append(Skipped(shard, f"the tar is damaged after '{sample.name}': {error}"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}. Check the file and its permissions.") from error
    if sample is not None:
        yield sample


def _add(sample: _Sample, field: str, path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    if f".{field.split('.')[-1]}" in EXTENSIONS:
        if field in sample.images:
            sample.problem = f"two files '.{field}' follow each other"
        sample.images[field] = _reader(path, member.offset_data, member.size)
    elif field in (_CLASS, _JSON) and member.size > _MOST_SAID:
        sample.problem = f"its .{field} has {member.size} bytes; expected at most {_MOST_SAID}"
    elif field in (_CLASS, _JSON):
        file = archive.extractfile(member)
        content = file.read() if file is not None else b""
        try:
            row = parse_json(content) if field == _JSON else {_CLASS: content.decode("utf-8")}
            if not isinstance(row, dict):
                raise ValueError("no object")
            sample.row.update(row)
        except ValueError as error:
            sample.problem = f"its .{field} cannot be read ({error})"
    else:
        sample.others.add(field)


def _reader(path: Path, start: int, size: int) -> Callable[[], bytes]:
    def read() -> bytes:
        with open(path, "rb") as file:
            rest = file.seek(0, os.SEEK_END) - start  # a header may promise more than memory holds
            file.seek(start)
            data = file.read(size) if size <= rest else b""
        if len(data) < size:
            raise Unreadable(f"{path.name} ends early")
        return data

    return read


def _block_at(path: Path, offset: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(_BLOCK)


def _list_samples(address: Address, samples: Sequence[_Sample], parts: Sequence[str], listing: Listing) -> None:
    """Fills the listing with what the samples say."""
    usable = []
    for sample, part in zip(samples, parts, strict=True):
        fields = [field for field in sample.images if not field.startswith(_MASK)]
        if address.image is not None:
            fields = [field for field in fields if field == address.image]
        if len(fields) > 1:
            raise UserError(
                f"{address.source}: '{sample.name}' has several images ({quoted(fields)}). Name the one to use: "
                f"{address.example('image', fields[0])}."
            )
        problem = sample.problem or ("" if fields else "there is no image of this name")
        if problem:
            listing.skipped.append(Skipped(sample.name, problem))
        else:
            usable.append((sample, fields[0], part))
    if not usable:
        found = f": {examples(listing.skipped)}" if listing.skipped else ""
        raise UserError(
            f"{address.source} holds no images{found}. Expected tars with files such as 0001.jpg and 0001.cls."
        )
    known = understand(_table(address, [sample for sample, _, _ in usable], listing))
    listing.notes += [Note(address.source, remark) for remark in known.remarks]
    others = sorted({field for sample in samples for field in sample.others})
    if others:
        listing.notes.append(
            Note(address.source, f"files of no use here are left out: {quoted('.' + f for f in others)}")
        )
    for i, (sample, field, part) in enumerate(usable):
        mask = next((content for name, content in sample.images.items() if name.startswith(_MASK)), None)
        class_name = None if known.classes is None else known.classes[i]
        listing.records.append(
            Record(
                f"{sample.name}.{field}",
                sample.images[field],
                class_name,
                known.groups[i],
                known.parts[i] or part,
                known.attributes[i],
                mask,
            )
        )
    if known.classes is not None:
        listing.class_names = ordered(known.classes)


def _table(address: Address, samples: Sequence[_Sample], listing: Listing) -> Table:
    names = dict.fromkeys(name for sample in samples for name in sample.row)
    columns = {name: [sample.row.get(name) for sample in samples] for name in names}
    if address.label is not None and address.label not in columns:
        raise UserError(
            f"{address.source}: no sample has a '{address.label}' to take labels from; there are {quoted(names)}."
        )
    label = address.label or next(iter(columns_named(columns, USUAL_LABELS)), None)
    if label is not None:
        labels = columns.pop(label)
        rivals = columns_named(columns, LABELS)
        if rivals:
            listing.notes.append(Note(address.source, f"labels are those of '{label}'; left out: {quoted(rivals)}"))
        columns = {name: cells for name, cells in columns.items() if name not in rivals} | {LABELS[0]: labels}
    return Table(address.source, columns, len(samples), lambda i: f"'{samples[i].name}'", json_number)


def _expanded(pattern: str) -> list[str]:
    """What a pattern with {000..009} or {a,b} stands for, as in a shell."""
    braces = _BRACES.search(pattern)
    if braces is None:
        return [pattern]
    inner = _RANGE.fullmatch(braces[1])
    if inner is None:
        choices = braces[1].split(",")
    else:
        first, last = int(inner[1]), int(inner[2])
        choices = [str(number).zfill(len(inner[1])) for number in range(first, last + 1)]
    return [
        text for choice in choices for text in _expanded(pattern[: braces.start()] + choice + pattern[braces.end() :])
    ]
