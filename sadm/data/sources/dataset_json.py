"""``dataset.json`` beside images, as NVIDIA's dataset tools for StyleGAN, EDM and EDM2 write it into folders and zips.

``{"labels": [["00000/img00000000.png", 6], ...]}`` or ``{"labels": null}``; paths are relative to the file.
"""

from __future__ import annotations

import json

from sadm.core.errors import UserError
from sadm.core.files import parse_json
from sadm.data.records import Listing, Record
from sadm.data.sources.folders import check_some
from sadm.data.sources.matching import Rows, list_rows
from sadm.data.sources.tables import LABELS, Table
from sadm.data.sources.trees import Tree
from sadm.data.sources.words import numbered_classes

DATASET_JSON = "dataset.json"
_EXPECTED = '{"labels": [["path/of/image.png", 0], …]}, or {"labels": null} for images without labels'


def list_dataset_json(tree: Tree) -> Listing:
    """Lists the images that the labels name; class c is named c, whether or not the classes below c have images.

    Raises:
        UserError: the file is no such JSON, or contradicts the images; rows are counted from 1.
    """
    entries = _entries(tree)
    if not entries:
        check_some(tree)
        records = [Record(name, tree.images[name]) for name in tree.sorted_images()]
        return Listing(tree.source, records, skipped=list(tree.skipped))
    numbers = [number for _, number in entries]
    names = numbered_classes(numbers, f"{DATASET_JSON} of {tree.where}")
    table = Table(DATASET_JSON, {LABELS[0]: numbers}, len(entries), lambda i: f"entry {i + 1}")
    listing = list_rows(tree, [Rows(table, [file for file, _ in entries])])
    listing.class_names = names
    return listing


def _entries(tree: Tree) -> list[tuple[str, int]]:
    """Path and class of each image; empty without labels."""
    where = f"{DATASET_JSON} of {tree.where}"
    try:
        content = parse_json(tree.read(DATASET_JSON))
    except ValueError as error:
        raise UserError(f"{where} is no JSON ({error}); expected {_EXPECTED}. Write it anew, or remove it.") from error
    if not isinstance(content, dict) or "labels" not in content:
        raise UserError(
            f"{where} has no 'labels'; expected {_EXPECTED}. Rename it if it is something else: without it, images are "
            "read by the folders that they lie in."
        )
    entries = content["labels"] or []
    if not isinstance(entries, list):
        raise UserError(f"{where}: 'labels' is {str(entries)[:80]}; expected {_EXPECTED}.")
    for row, entry in enumerate(entries, 1):
        pair = isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)
        if not pair or type(entry[1]) is not int:
            raise UserError(
                f"{where}: entry {row} of 'labels' is {json.dumps(entry)[:80]}; expected [\"path/of/image.png\", 0], with the "
                "number of one class."
            )
    return [(file, number) for file, number in entries]
