"""Images by folder: one subfolder for each class, or flat and without labels; a folder for each part may lie above."""

from __future__ import annotations

import posixpath
from collections import Counter
from pathlib import Path

from sadm.core.errors import UserError
from sadm.data.imageset import HELD_OUT, TRAIN, Note
from sadm.data.records import Listing, Record, examples, readable_name
from sadm.data.sources.trees import ACCEPTED, Tree
from sadm.data.sources.words import composed, part_of, quoted

OTHERS = "files that are not read as images"
_SHOWN = 5  # kinds of files in a message


def list_classes(tree: Tree) -> Listing:
    """Lists images by the folders that they lie in.

    Every immediate subfolder that holds images, at any depth, is a class; without such subfolders the set has no labels.
    Where all subfolders are named like parts of a split, one of them for training (``train``, ``test``), they are these
    parts, and what lies in each is read in the same way. The order is that of the relative paths.

    Raises:
        UserError: there are no images, or images lie both beside and inside class folders.
    """
    listing = Listing(tree.source, skipped=list(tree.skipped), others=kinds_of_others(tree))
    check_some(tree)
    parts = part_folders(tree)
    for name in tree.sorted_images():
        top, _, below = name.partition("/")
        part, rest = (parts[top], below) if parts else ("", name)
        class_name = composed(rest.split("/")[0]) if "/" in rest else None
        listing.records.append(Record(name, tree.images[name], class_name, part=part))
    if HELD_OUT in parts.values():
        folders = quoted(sorted(name for name, part in parts.items() if part == HELD_OUT))
        listing.notes.append(Note(tree.source, f"images of the folder {folders} are held out, never trained on"))
    if listing.others:
        found = ", ".join(f"{kind} ({count})" for kind, count in [*listing.others.items()][:_SHOWN])
        listing.notes.append(Note(tree.source, f"{OTHERS}: {found}"))
    _check_one_layout(tree, listing)
    return listing


def list_image(path: Path, source: str) -> Listing:
    """Lists a file of one image, or of several as pages."""
    return Listing(source, [Record(readable_name(path.name), path)])


def part_folders(tree: Tree) -> dict[str, str]:
    """The part that each of the top's subfolders stands for; empty where one is not named like a part, or none for training."""
    tops = {name.partition("/")[0] if "/" in name else "." for name in tree.images}
    parts = {top: part_of(top) for top in sorted(tops)}
    if TRAIN not in parts.values() or None in parts.values():
        return {}
    return {top: part or "" for top, part in parts.items()}


def kinds_of_others(tree: Tree) -> dict[str, int]:
    """How many files are no images by their names, by extension or, without one, by name; the most frequent first."""
    kinds = Counter(posixpath.splitext(name)[1].lower() or posixpath.basename(name) for name in tree.others)
    return dict(kinds.most_common())


def check_some(tree: Tree) -> None:
    """Raises a `UserError` where a tree holds no images."""
    if tree.images:
        return
    if tree.skipped:
        raise UserError(f"{tree.where} holds no image that can be reached: {examples(tree.skipped)}.")
    kinds = sorted(kinds_of_others(tree))
    found = f"only {', '.join(kinds[:_SHOWN])}" if kinds else "it is empty"
    raise UserError(
        f"{tree.where} holds no images ({found}); expected files of {ACCEPTED}, flat or in one subfolder per class."
    )


def _check_one_layout(tree: Tree, listing: Listing) -> None:
    loose = next((record for record in listing.records if record.class_name is None), None)
    classed = next((record for record in listing.records if record.class_name is not None), None)
    if loose and classed:
        raise UserError(
            f"{tree.where} holds images both at its top ('{loose.name}') and in subfolders ('{classed.name}'), so it is "
            "unclear whether the subfolders are classes. Move the images at the top into a class folder of their own, "
            "or all images into one folder without subfolders."
        )
