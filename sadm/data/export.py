"""A source as files: PNG images in class folders, masks beside them, and ``metadata.csv`` with all that is known of them."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.nn import functional

from sadm.core.errors import InterruptedRun, UserError
from sadm.core.files import (
    make_folder,
    read_json,
    refuse_foreign_folder,
    remove_leftovers,
    write_atomically,
    write_json,
)
from sadm.core.grids import write_png
from sadm.data.imageset import ImageSet, Split, named_parts, sha256_of
from sadm.data.masks import of_shares
from sadm.data.records import Progress

MARKER = "export.json"
METADATA = "metadata.csv"
MASKS = "masks"
_COLUMNS = ("file_name", "label", "group", "split", "mask")
_WINDOWS_NAMES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def pick(opened: ImageSet | Split, count: int | None) -> list[tuple[str, ImageSet]]:
    """The parts of a source with their names ("" for a source that is not divided), thinned to `count` images in all.

    The images are spread evenly over the source, so that classes keep their shares whether they are sorted or mixed.

    Raises:
        UserError: the count is below 1.
    """
    if count is not None and count < 1:
        raise UserError(f"--count is {count}; expected at least 1, or nothing to export all images.")
    parts = named_parts(opened)
    total = sum(len(images) for _, images in parts)
    if count is None or count >= total:
        return parts
    chosen, start, picked = torch.arange(count) * total // count, 0, []
    for part, images in parts:
        inside = (chosen >= start) & (chosen < start + len(images))
        picked.append((part, images.subset(chosen[inside] - start)))
        start += len(images)
    return picked


def export(
    parts: list[tuple[str, ImageSet]],
    out: str | Path,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Writes images to a folder, from which they can be opened as a source again.

    Image i is ``CLASS/00000i.png``, or ``00000i.png`` without classes, in its own shape where images are in buckets; what is
    marked in it is ``masks/CLASS/00000i.png``, if anything is. ``metadata.csv`` comes last; ``export.json`` says what the images
    were called in the source. Every file is whole or absent; where the same export was interrupted before, it goes on.

    Args:
        parts: see `pick`.
        out: the folder; it may hold the beginning of the same export.
        progress: called with (images written, images in all).
        stop: asked between images whether to stop.

    Returns:
        The path of ``metadata.csv``.

    Raises:
        UserError: the folder holds something else, or it can't be written.
        InterruptedRun: `stop` said so.
    """
    folder = Path(out)
    refuse_foreign_folder(folder, MARKER, "export")
    _claim(folder, parts)
    names = file_names(parts)
    done = 0
    for _, images in parts:
        for i in range(len(images)):
            if stop():
                raise InterruptedRun(f"Stopped after {done} of {len(names)} images. To go on, run the same command.")
            pixels = images.images[i] if images.shaped is None else images.shaped[i]
            _write_png(folder / names[done], pixels)
            if images.masks is not None and bool(images.masks[i].any()):
                _write_png(folder / MASKS / names[done], _mask_like(images.masks[i], pixels))
            done += 1
            if progress is not None:
                progress(done, len(names))
    write_atomically(folder / METADATA, _table(parts, names))
    return folder / METADATA


def file_names(parts: list[tuple[str, ImageSet]]) -> list[str]:
    """The path of each image within the folder, with slashes."""
    folders = class_folders(parts[0][1].class_names)
    total = sum(len(images) for _, images in parts)
    digits = max(6, len(str(total - 1)))
    labels = [
        label for _, images in parts for label in (images.labels if images.labels is not None else [None] * len(images))
    ]
    return [
        f"{i:0{digits}d}.png" if c is None else f"{folders[int(c)]}/{i:0{digits}d}.png" for i, c in enumerate(labels)
    ]


def class_folders(class_names: tuple[str, ...]) -> list[str]:
    """A folder name for each class that every file system takes, distinct whatever the case, and never that of the masks."""
    folders: list[str] = []
    taken = {MASKS}
    for name in class_names:
        plain = re.sub(r"[^\w .+\-]", "_", name).strip(" .")[:80] or "_"
        if _WINDOWS_NAMES.fullmatch(plain):  # a device with any extension is still that device
            stem, dot, rest = plain.partition(".")
            plain = f"{stem}_{dot}{rest}"
        folder, number = plain, 2
        while folder.casefold() in taken:
            folder, number = f"{plain}_{number}", number + 1
        taken.add(folder.casefold())
        folders.append(folder)
    return folders


def _claim(folder: Path, parts: list[tuple[str, ImageSet]]) -> None:
    """Marks the folder as that of this export, and refuses it if it holds another one."""
    facts = {
        "source": parts[0][1].source,
        "fingerprints": [images.fingerprint() for _, images in parts],
        "masks": [None if images.masks is None else sha256_of(images.masks) for _, images in parts],
        "images": [name for _, images in parts for name in images.names],
    }
    marker = folder / MARKER
    if not marker.exists():
        make_folder(folder)
        write_json(marker, facts)
        return
    stored = read_json(marker)
    if stored != facts:
        source = stored.get("source") if isinstance(stored, dict) else None
        raise UserError(
            f"{folder} holds an export of {'other images' if source == facts['source'] else repr(source)}. Choose another "
            "--out, or delete that folder."
        )
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        remove_leftovers(place)


def _mask_like(mask: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """A mask [1, H, W] in the height and width of its image (see `of_shares`)."""
    if mask.shape[1:] == pixels.shape[1:]:
        return mask
    shares = functional.interpolate(mask[None].float(), size=pixels.shape[1:], mode="area")[0]
    return torch.from_numpy(of_shares(shares.numpy()))


def _write_png(path: Path, pixels: torch.Tensor) -> None:
    """Writes [C, H, W], unless it was written before: a file that is there is whole."""
    if not path.exists():
        write_png(path, pixels.permute(1, 2, 0).numpy())


def _table(parts: list[tuple[str, ImageSet]], names: list[str]) -> str:
    rows = list(_rows(parts, names))
    attributes = list(parts[0][1].attribute_names)
    filled = [column for column in _COLUMNS if any(row.get(column) for row in rows)]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*filled, *attributes], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _rows(parts: list[tuple[str, ImageSet]], names: list[str]) -> Iterator[dict[str, str]]:
    files = iter(names)
    for part, images in parts:
        for i, file in zip(range(len(images)), files, strict=False):
            marked = images.masks is not None and bool(images.masks[i].any())
            values = [] if images.attributes is None else images.attributes[i].tolist()
            numbers = ("" if math.isnan(value) else f"{value:.9g}" for value in values)
            yield {
                "file_name": file,
                "label": "" if images.labels is None else images.class_names[int(images.labels[i])],
                "group": "" if images.groups is None else images.groups[i],
                "split": part if images.parts is None else images.parts[i] or part,
                "mask": f"{MASKS}/{file}" if marked else "",
                **dict(zip(images.attribute_names, numbers, strict=True)),
            }
