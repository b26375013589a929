"""`Tree`: the files of a folder or an archive by name, from which class folders, metadata and dataset.json are read."""

from __future__ import annotations

import dataclasses
import os
import posixpath
from pathlib import Path

from sadm.core.errors import UserError
from sadm.data.decoding import EXTENSIONS
from sadm.data.imageset import Skipped
from sadm.data.records import Content, Unreadable, readable_name
from sadm.data.sources.words import composed

ACCEPTED = ", ".join(sorted(extension[1:] for extension in EXTENSIONS))


@dataclasses.dataclass
class Tree:
    """Files by their relative names, with slashes and in valid Unicode; hidden ones are not among them.

    Attributes:
        source: as the user named it.
        where: its path, for messages.
        images: files with the extension of an image.
        others: all other files.
        skipped: folders that cannot be read.
    """

    source: str
    where: str
    images: dict[str, Content] = dataclasses.field(default_factory=dict)
    others: dict[str, Content] = dataclasses.field(default_factory=dict)
    skipped: list[Skipped] = dataclasses.field(default_factory=list)

    def add(self, name: str, content: Content) -> None:
        """Puts a file where its extension says."""
        is_image = posixpath.splitext(name)[1].lower() in EXTENSIONS
        (self.images if is_image else self.others)[name] = content

    def read(self, name: str) -> bytes:
        """The content of a file that is no image.

        Raises:
            UserError: it cannot be read.
        """
        content = self.others[name]
        try:
            return content.read_bytes() if isinstance(content, Path) else content()
        except (OSError, Unreadable) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise UserError(
                f"cannot read {name} of {self.where}: {reason}. Check the file and its permissions."
            ) from error

    def sorted_images(self) -> list[str]:
        """Names of the images, in an order that is the same on macOS, which stores names decomposed."""
        return sorted(self.images, key=lambda name: (composed(name), name))


def walk_folder(folder: str | os.PathLike[str], source: str) -> Tree:
    """The files of a folder, at any depth.

    Hidden files are ignored; links are followed, to each folder once below each of the top's subfolders.

    Raises:
        UserError: it is no folder, or the folder or one of its immediate subfolders cannot be read.
    """
    root = str(Path(folder))
    if not os.path.exists(root):
        raise UserError(f"{root} does not exist. Give a folder with images ({ACCEPTED}).")
    if not os.path.isdir(root):
        raise UserError(f"{root} is a file; expected a folder with images. Give the folder that holds it.")
    tree = Tree(source, root)
    try:
        top = _visible(root)
    except OSError as error:
        raise UserError(f"cannot read the folder {root}: {error.strerror}. Check its permissions.") from error
    for name, is_folder in top:
        if is_folder:
            _walk(root, name, tree)
        else:
            tree.add(readable_name(name), Path(root, name))
    return tree


def _visible(folder: str) -> list[tuple[str, bool]]:
    """Names in a folder, in order, and whether each is a folder or a link to one."""
    with os.scandir(folder) as entries:
        return sorted((entry.name, _is_folder(entry)) for entry in entries if not entry.name.startswith("."))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _walk(root: str, top: str, tree: Tree) -> None:
    """Adds what lies below one of the root's folders; paths are strings here, since a set may have a million."""
    seen = {_identity(root)}  # a link back to the root, or to any folder below this one, would never end
    pending = [top]
    while pending:
        current = pending.pop()
        folder = os.path.join(root, current)
        try:
            if (identity := _identity(folder)) in seen:
                continue
            seen.add(identity)
            found = _visible(folder)
        except OSError as error:
            if current == top:
                raise UserError(
                    f"cannot read the folder {folder}: {error.strerror}; without what may be a whole class, the others would "
                    "be numbered anew. Check its permissions, or move it away."
                ) from error
            tree.skipped.append(Skipped(readable_name(current), f"the folder cannot be read: {error.strerror}"))
            continue
        below = []
        for name, is_folder in found:
            if is_folder:
                below.append(f"{current}/{name}")
            else:
                tree.add(readable_name(f"{current}/{name}"), Path(folder, name))
        pending += reversed(below)  # the last one is visited first: of two links to one folder, the first by name wins


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
