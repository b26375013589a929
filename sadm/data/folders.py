"""A folder of images: one subfolder for each class, or flat and without labels."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sadm.core.errors import UserError
from sadm.data.decoding import EXTENSIONS, Unreadable, decode, is_grey, silence_pillow
from sadm.data.fitting import Fit
from sadm.data.imageset import ImageSet, Skipped

Progress = Callable[[int, int], None]  # (done, total)

_SHOWN = 5  # examples in a message
_THREADS = 8  # at most; Pillow decodes without the interpreter's lock
_ACCEPTED = ", ".join(sorted(extension[1:] for extension in EXTENSIONS))


@dataclasses.dataclass(frozen=True)
class _Found:
    """An image file; `name` is its path relative to the folder, with slashes and valid Unicode."""

    path: Path
    name: str
    class_name: str | None


@dataclasses.dataclass
class _Listing:
    """What a folder holds, before anything is decoded."""

    files: list[_Found] = dataclasses.field(default_factory=list)
    skipped: list[Skipped] = dataclasses.field(default_factory=list)
    other: set[str] = dataclasses.field(default_factory=set)  # extensions of files that are no images


def open_folder(folder: str | Path, fit: Fit, strict: bool = False, progress: Progress | None = None) -> ImageSet:
    """Opens a folder of images.

    Every immediate subfolder that holds images, at any depth, is a class (sorted by name); without such subfolders the
    set has no labels. Hidden files are ignored; links are followed, to each folder once per class. The order is that of
    the relative paths. With channels left open, the set is grey if no pixel of the fitted images carries colour,
    whatever the files' modes.

    Args:
        folder: where the images lie.
        fit: resolution and channels.
        strict: refuse the folder if any file is unreadable, instead of listing such files under `skipped`.
        progress: called with (files done, files in all).

    Raises:
        UserError: there are not two readable images, a class has none, images lie both beside and inside class folders,
            sizes differ and no resolution was given, or `strict` and a file is unreadable.
    """
    root = Path(folder)
    _check_is_folder(root)
    listing = _list_images(root)
    _check_listing(root, listing)
    decoded = _decode_all(root, listing.files, fit, progress)
    pairs = list(zip(listing.files, decoded, strict=True))
    bad = [Skipped(file.name, reason) for file, reason in pairs if isinstance(reason, str)]
    skipped = sorted(listing.skipped + bad, key=lambda skip: skip.path)
    if strict and skipped:
        raise UserError(
            f"{root}: {_files(len(skipped))} cannot be read: {_examples(skipped)}. Mend or remove them, or read "
            "without the strict option to leave them out."
        )
    files = [file for file, result in pairs if not isinstance(result, str)]
    pixels = [result for result in decoded if not isinstance(result, str)]
    del pairs, decoded  # so that `_stack` can free the images one by one
    _check_enough(root, listing.files, files, skipped)
    class_names = tuple(sorted({file.class_name for file in files if file.class_name is not None}))
    number = {name: i for i, name in enumerate(class_names)}
    labels = [number[file.class_name] for file in files if file.class_name is not None]
    return ImageSet(
        images=_stack(pixels, fit.channels),
        labels=torch.tensor(labels, dtype=torch.int64) if class_names else None,
        class_names=class_names,
        names=tuple(file.name for file in files),
        source=str(folder),
        skipped=tuple(skipped),
    )


def _check_is_folder(root: Path) -> None:
    if not os.path.exists(root):
        raise UserError(f"{root} does not exist. Give a folder with images ({_ACCEPTED}).")
    if not os.path.isdir(root):
        raise UserError(f"{root} is a file; expected a folder with images. Give the folder that holds it.")


def _list_images(root: Path) -> _Listing:
    listing = _Listing()
    try:
        with os.scandir(root) as entries:
            visible = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"cannot read the folder {root}: {error.strerror}. Check its permissions.") from error
    for name in visible:
        path = root / name
        if os.path.isdir(path):
            _walk(root, path, _readable(name), listing)
        else:
            _note_file(root, path, None, listing)
    listing.files.sort(key=lambda file: file.name)
    return listing


def _walk(root: Path, folder: Path, class_name: str, listing: _Listing) -> None:
    seen = {_identity(root)}  # a link back to the root, or to any folder of this class, would never end
    pending = [folder]
    while pending:
        current = pending.pop()
        try:
            if (identity := _identity(current)) in seen:
                continue
            seen.add(identity)
            with os.scandir(current) as entries:
                # Descending, as the last one pending is visited first: of two links to one folder, the first wins.
                names = sorted((entry.name for entry in entries if not entry.name.startswith(".")), reverse=True)
        except OSError as error:
            if current == folder:  # leaving a whole class out would renumber the others
                raise UserError(
                    f"cannot read the class folder {folder}: {error.strerror}. Check its permissions, or move it away."
                ) from error
            listing.skipped.append(Skipped(_name(root, current), f"the folder cannot be read: {error.strerror}"))
            continue
        paths = [current / name for name in names]
        for path in paths:
            if os.path.isdir(path):
                pending.append(path)
            else:
                _note_file(root, path, class_name, listing)


def _note_file(root: Path, path: Path, class_name: str | None, listing: _Listing) -> None:
    if path.suffix.lower() in EXTENSIONS:
        listing.files.append(_Found(path, _name(root, path), class_name))
    else:
        listing.other.add(path.suffix.lower() or path.name)


def _check_listing(root: Path, listing: _Listing) -> None:
    if not listing.files:
        if listing.skipped:
            raise UserError(f"{root} holds no image that can be reached: {_examples(listing.skipped)}.")
        found = f"only {', '.join(sorted(listing.other)[:_SHOWN])}" if listing.other else "it is empty"
        raise UserError(
            f"{root} holds no images ({found}); expected files of {_ACCEPTED}, flat or in one subfolder per class."
        )
    loose = next((file for file in listing.files if file.class_name is None), None)
    classed = next((file for file in listing.files if file.class_name is not None), None)
    if loose and classed:
        raise UserError(
            f"{root} holds images both at its top ('{loose.name}') and in subfolders ('{classed.name}'), so it is "
            "unclear whether the subfolders are classes. Move the images at the top into a class folder of their own, "
            "or all images into one folder without subfolders."
        )


def _check_enough(root: Path, found: Sequence[_Found], readable: Sequence[_Found], skipped: Sequence[Skipped]) -> None:
    if not readable:
        raise UserError(
            f"{root}: none of its {_files(len(found))} can be read: {_examples(skipped)}. Check that they are whole "
            "images."
        )
    lost = {file.class_name for file in found} - {file.class_name for file in readable}
    if lost:
        name = min(str(class_name) for class_name in lost)
        reasons = [skip for skip in skipped if skip.path.startswith(f"{name}/")]
        raise UserError(
            f"{root}: no image in the class folder '{name}' can be read: {_examples(reasons)}. Mend its images, or "
            "remove the folder to leave the class out."
        )
    if len(readable) < 2:
        unread = f" ({_examples(skipped)} cannot be read)" if skipped else ""
        raise UserError(
            f"{root} holds one readable image, '{readable[0].name}'{unread}; at least 2 are needed, since training "
            "relates images to each other. Add more images."
        )


def _decode_all(root: Path, files: Sequence[_Found], fit: Fit, progress: Progress | None) -> list[np.ndarray | str]:
    """Pixels, or the reason why not, for each file in order."""

    def job(file: _Found) -> np.ndarray | str:
        try:
            return decode(file.path, fit)
        except Unreadable as reason:
            return str(reason)

    results: list[np.ndarray | str] = []
    reference: tuple[_Found, np.ndarray] | None = None
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        silence_pillow()
        Image.init()  # decoders register here, rather than in several threads at once
        pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1))
        stack.callback(pool.shutdown, cancel_futures=True)
        for file, result in zip(files, pool.map(job, files), strict=True):
            if not isinstance(result, str):
                reference = reference or (file, result)
                _check_same_size(root, reference, (file, result))
            results.append(result)
            if progress is not None:
                progress(len(results), len(files))
    return results


def _check_same_size(root: Path, first: tuple[_Found, np.ndarray], other: tuple[_Found, np.ndarray]) -> None:
    if first[1].shape[:2] != other[1].shape[:2]:
        a, b = (f"'{file.name}' is {pixels.shape[1]} x {pixels.shape[0]}" for file, pixels in (first, other))
        raise UserError(
            f"{root}: images differ in size: {a}, {b} pixels. Give --data.resolution (such as 64): each image is then "
            "cropped to its central square and resized. Or bring the files to one size."
        )


def _stack(pixels: list[np.ndarray], channels: int | None) -> torch.Tensor:
    """[N, C, H, W] uint8; empties `pixels` as it goes, so that the set is not held in memory twice."""
    if channels is None:
        channels = 1 if all(is_grey(image) for image in pixels) else 3
    height, width = pixels[0].shape[:2]
    stacked = torch.empty(len(pixels), channels, height, width, dtype=torch.uint8)
    for i in range(len(pixels) - 1, -1, -1):
        image = torch.from_numpy(np.array(pixels.pop()))
        if image.ndim == 3:
            stacked[i] = image.permute(2, 0, 1)[:channels]  # grey in RGB: any channel will do
        else:
            stacked[i] = image  # [H, W] fills every channel
    return stacked


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _name(root: Path, path: Path) -> str:
    return _readable(path.relative_to(root).as_posix())


def _readable(name: str) -> str:
    # File names need not be valid Unicode; reports and JSON must be.
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _examples(skipped: Sequence[Skipped]) -> str:
    shown = "; ".join(f"'{skip.path}': {skip.reason}" for skip in skipped[:_SHOWN])
    return shown + (f"; and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else "")


def _files(count: int) -> str:
    return f"{count} image file{'s' if count != 1 else ''}"
