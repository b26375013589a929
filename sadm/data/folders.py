"""A folder of images: one subfolder for each class, or flat and without labels."""

from __future__ import annotations

import os
from pathlib import Path

from sadm.core.errors import UserError
from sadm.data.decoding import EXTENSIONS
from sadm.data.imageset import Skipped
from sadm.data.pages import with_pages
from sadm.data.records import Listing, Record, examples, readable_name

_SHOWN = 5  # kinds of files in a message
_ACCEPTED = ", ".join(sorted(extension[1:] for extension in EXTENSIONS))


def list_folder(folder: str | Path) -> Listing:
    """Lists a folder of images.

    Every immediate subfolder that holds images, at any depth, is a class (sorted by name); without such subfolders the
    set has no labels. Hidden files are ignored; links are followed, to each folder once per class. The order is that of
    the relative paths, and of the pages within a TIFF.

    Raises:
        UserError: there are no images, images lie both beside and inside class folders, or a folder cannot be read.
    """
    root = Path(folder)
    _check_is_folder(root)
    listing, other = Listing(str(folder)), set[str]()
    for name in _visible(root):
        path = root / name
        if os.path.isdir(path):
            _walk(root, path, listing, other)
        else:
            _note_file(root, path, None, listing, other)
    listing.records.sort(key=lambda record: record.name)
    _check_listing(root, listing, other)
    listing.records = with_pages(listing.records)
    return listing


def _check_is_folder(root: Path) -> None:
    if not os.path.exists(root):
        raise UserError(f"{root} does not exist. Give a folder with images ({_ACCEPTED}).")
    if not os.path.isdir(root):
        raise UserError(f"{root} is a file; expected a folder with images. Give the folder that holds it.")


def _visible(root: Path) -> list[str]:
    try:
        with os.scandir(root) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"cannot read the folder {root}: {error.strerror}. Check its permissions.") from error


def _walk(root: Path, folder: Path, listing: Listing, other: set[str]) -> None:
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
                _note_file(root, path, readable_name(folder.name), listing, other)


def _note_file(root: Path, path: Path, class_name: str | None, listing: Listing, other: set[str]) -> None:
    if path.suffix.lower() in EXTENSIONS:
        listing.records.append(Record(_name(root, path), path, class_name))
    else:
        other.add(path.suffix.lower() or path.name)


def _check_listing(root: Path, listing: Listing, other: set[str]) -> None:
    if not listing.records:
        if listing.skipped:
            raise UserError(f"{root} holds no image that can be reached: {examples(listing.skipped)}.")
        found = f"only {', '.join(sorted(other)[:_SHOWN])}" if other else "it is empty"
        raise UserError(
            f"{root} holds no images ({found}); expected files of {_ACCEPTED}, flat or in one subfolder per class."
        )
    loose = next((record for record in listing.records if record.class_name is None), None)
    classed = next((record for record in listing.records if record.class_name is not None), None)
    if loose and classed:
        raise UserError(
            f"{root} holds images both at its top ('{loose.name}') and in subfolders ('{classed.name}'), so it is "
            "unclear whether the subfolders are classes. Move the images at the top into a class folder of their own, "
            "or all images into one folder without subfolders."
        )


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _name(root: Path, path: Path) -> str:
    return readable_name(path.relative_to(root).as_posix())
