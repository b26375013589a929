"""Images by folder: one subfolder for each class, or flat and without labels; a folder for each part may lie above."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sadm.core.errors import UserError
from sadm.data.imageset import HELD_OUT, TRAIN, Note, Skipped
from sadm.data.records import Content, Listing, Record, examples, readable_name
from sadm.data.sources.trees import ACCEPTED, Tree
from sadm.data.sources.words import composed, part_of, quoted

OTHERS = "files that are not read as images"
GROUND_TRUTH = "ground_truth"
"""Folder of masks beside the parts, as in MVTec AD (Bergmann et al. 2019)."""

_SHOWN = 5  # kinds of files in a message


def list_classes(tree: Tree) -> Listing:
    """Lists images by the folders that they lie in.

    Every immediate subfolder that holds images, at any depth, is a class; without such subfolders the set has no labels.
    Where all subfolders are named like parts of a split, one of them for training (``train``, ``test``), they are these
    parts, and what lies in each is read in the same way; beside both a training and a held-out part, ``ground_truth`` holds
    masks (see `_Masks`). The order is that of the relative paths.

    Raises:
        UserError: there are no images, images lie both beside and inside class folders, or parts lie beside other folders.
    """
    listing = Listing(tree.source, skipped=list(tree.skipped), others=kinds_of_others(tree))
    check_some(tree)
    parts = part_folders(tree)
    if not parts:
        _check_no_parts(tree)
    masks = _Masks(tree, [name for name in tree.sorted_images() if parts and name.partition("/")[0] not in parts])
    for name in tree.sorted_images():
        top, _, below = name.partition("/")
        if parts and top not in parts:
            continue
        part, rest = (parts[top], below) if parts else ("", name)
        class_name = composed(rest.split("/")[0]) if "/" in rest else None
        mask = masks.of(name) if part == HELD_OUT else None
        listing.records.append(Record(name, tree.images[name], class_name, part=part, mask=mask))
    masks.say(listing)
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
    """The part that each of the top's subfolders stands for; empty where one is not named like a part, or none for training.

    A folder of masks (`GROUND_TRUTH`) is left aside where there are both a training and a held-out part.
    """
    parts = _part_of_each(tree)
    if {TRAIN, HELD_OUT} <= set(parts.values()):
        parts = {top: part for top, part in parts.items() if not _holds_masks(top)}
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


class _Masks:
    """The masks in `GROUND_TRUTH`: ``ground_truth/X/N_mask.png``, or ``N.png``, marks what is in ``test/X/N.*``."""

    def __init__(self, tree: Tree, names: Sequence[str]) -> None:
        self._tree = tree
        self._names = {composed(_key(name)): name for name in names}  # by X/N_mask or X/N
        self._folders = {posixpath.dirname(key) for key in self._names}
        self._images: dict[str, str] = {}  # that each mask is of
        self._without: list[str] = []

    def of(self, image: str) -> Content | None:
        """The mask of a held-out image; None where there is none.

        Raises:
            UserError: another image has claimed it.
        """
        key = composed(_key(image))
        mask = next((self._names[name] for name in (f"{key}_mask", key) if name in self._names), None)
        if mask is None:
            self._without += [image] * (posixpath.dirname(key) in self._folders)
            return None
        if self._images.setdefault(mask, image) != image:
            raise UserError(
                f"{self._tree.where}: '{mask}' may be the mask of '{self._images[mask]}' and of '{image}'. Rename one of these, "
                "or list the images in a metadata.csv with a column 'mask'."
            )
        return self._tree.images[mask]

    def say(self, listing: Listing) -> None:
        """Adds to the listing what was found, and what has no counterpart."""
        reason = f"a mask without an image of its name; expected {GROUND_TRUTH}/X/N_mask.png for test/X/N"
        listing.skipped += [Skipped(name, reason) for name in self._names.values() if name not in self._images]
        if self._images:
            listing.notes.append(Note(listing.source, f"masks are those of the folder '{GROUND_TRUTH}'"))
        if self._without:
            text = f"no mask in '{GROUND_TRUTH}', so nothing is marked in them: {quoted(self._without)}"
            listing.notes.append(Note(listing.source, text))


def _key(name: str) -> str:
    """The path below the top's subfolder, without the extension."""
    return posixpath.splitext(name.partition("/")[2])[0]


def _part_of_each(tree: Tree) -> dict[str, str | None]:
    """What `part_of` says of each of the top's subfolders that holds images; "." stands for images at the top."""
    tops = {name.partition("/")[0] if "/" in name else "." for name in tree.images}
    return {top: part_of(top) for top in sorted(tops)}


def _holds_masks(top: str) -> bool:
    return top.lower().replace("-", "_") == GROUND_TRUTH


def _check_no_parts(tree: Tree) -> None:
    """Refuses parts of a split, or masks of some, that would become classes because of what lies beside them."""
    parts = _part_of_each(tree)
    named = [top for top, part in parts.items() if part]
    others = [top for top, part in parts.items() if part is None]
    if "." in others:  # images at the top, which `_check_one_layout` refuses
        return
    both = {TRAIN, HELD_OUT} <= set(parts.values())
    if others and (both or (named and len(others) == 1 and _holds_masks(others[0]))):
        raise UserError(
            f"{tree.where} holds {quoted(named)}, named like parts of a split, and beside them {quoted(others)}, so it is "
            f"unclear what is what. Expected a training and a held-out part alone, or with '{GROUND_TRUTH}' for the masks "
            f"({GROUND_TRUTH}/CLASS/NAME_mask.png). Add the part that is missing, move the other folders away, rename them if "
            "all of them are classes, or list the images in a metadata.csv."
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
