"""How pairs of image and mask lie in a folder: as SADM reads them, as MVTec AD does, and for detectors as COCO and YOLO."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml

from sadm.core.files import write_atomically, write_json
from sadm.core.grids import read_png
from sadm.data.export import METADATA, class_folders

Record = Mapping[str, Any]
"""A line of the folder's table (see `sadm.training.outputs`); its details are those of `facts_of`."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a folder holds.

    Attributes:
        records: of the images with defects, in order.
        defects: all classes of defects.
        good: names of the good images, by their paths.
        groups: that of each training image, by its name.
    """

    records: Sequence[Record]
    defects: Sequence[str]
    good: Mapping[str, str]
    groups: Mapping[str, str]


class Layout(Protocol):
    """One way to lay pairs out."""

    def image(self, defect: str, index: int) -> str:
        """Path of an image with a defect, with slashes."""
        ...

    def mask(self, defect: str, index: int) -> str:
        """Path of its mask."""
        ...

    def good(self, index: int) -> str:
        """Path of a good image."""
        ...

    def finish(self, folder: Path, held: Contents) -> None:
        """Writes the tables of what a folder holds."""
        ...


class Classes:
    """Class folders, masks beside them and ``metadata.csv``: `sadm train --data` reads it."""

    def __init__(self, good: str, defects: Sequence[str]) -> None:
        self.names = (good, *defects)
        self.folders = dict(zip(self.names, class_folders(self.names), strict=True))

    def image(self, defect: str, index: int) -> str:
        return f"{self.folders[defect]}/{index:06d}.png"

    def mask(self, defect: str, index: int) -> str:
        return f"masks/{self.folders[defect]}/{index:06d}.png"

    def good(self, index: int) -> str:
        return f"{self.folders[self.names[0]]}/{index:06d}.png"

    def finish(self, folder: Path, held: Contents) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        # A good image and those that lie on it are of one group, which no split may tear apart.
        writer.writerow(["file_name", "label", "group", "mask", "severity"])
        for record in held.records:
            details = record["details"]
            severity = "" if details["severity"] is None else f"{details['severity']:.9g}"
            writer.writerow([record["file"], record["label"], held.groups[details["good"]], details["mask"], severity])
        for path, name in held.good.items():
            writer.writerow([path, self.names[0], held.groups[name], "", ""])
        write_atomically(folder / METADATA, text.getvalue())


class MVTec:
    """Folders of MVTec AD (Bergmann et al. 2019): one category, its defects as test images with their ground truth."""

    def __init__(self, good: str, defects: Sequence[str]) -> None:
        self.folders = dict(zip(defects, class_folders(("good", *defects))[1:], strict=True))

    def image(self, defect: str, index: int) -> str:
        return f"test/{self.folders[defect]}/{index:03d}.png"

    def mask(self, defect: str, index: int) -> str:
        return f"ground_truth/{self.folders[defect]}/{index:03d}_mask.png"

    def good(self, index: int) -> str:
        return f"train/good/{index:03d}.png"

    def finish(self, folder: Path, held: Contents) -> None:
        """Nothing: these folders have no tables."""


class Coco:
    """Images, masks and ``annotations.json`` in COCO's format, masks as run lengths."""

    def __init__(self, good: str, defects: Sequence[str]) -> None:
        self.folders = dict(zip(defects, class_folders(tuple(defects)), strict=True))

    def image(self, defect: str, index: int) -> str:
        return f"images/{self.folders[defect]}-{index:06d}.png"

    def mask(self, defect: str, index: int) -> str:
        return f"masks/{self.folders[defect]}-{index:06d}.png"

    def good(self, index: int) -> str:
        return f"images/good-{index:06d}.png"

    def finish(self, folder: Path, held: Contents) -> None:
        numbers = {name: number for number, name in enumerate(held.defects, 1)}
        images, annotations = [], []
        for number, record in enumerate(held.records, 1):
            mask = read_png(folder / record["details"]["mask"])[..., 0]
            images.append(_image(number, record["file"], mask.shape))
            annotations.append(
                {
                    "id": number,
                    "image_id": number,
                    "category_id": numbers[record["label"]],
                    "bbox": record["details"]["box"],
                    "area": int((mask >= 128).sum()),
                    "iscrowd": 0,
                    "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask >= 128)},
                }
            )
        for number, path in enumerate(held.good, len(held.records) + 1):
            images.append(_image(number, path, read_png(folder / path).shape[:2]))
        categories = [{"id": number, "name": name, "supercategory": "defect"} for name, number in numbers.items()]
        write_json(
            folder / "annotations.json", {"images": images, "annotations": annotations, "categories": categories}
        )


class Yolo:
    """Images, a text file of boxes for each, and ``data.yaml``, as YOLO's trainers read them."""

    def __init__(self, good: str, defects: Sequence[str]) -> None:
        self.folders = dict(zip(defects, class_folders(tuple(defects)), strict=True))

    def image(self, defect: str, index: int) -> str:
        return f"images/train/{self.folders[defect]}-{index:06d}.png"

    def mask(self, defect: str, index: int) -> str:
        return f"masks/train/{self.folders[defect]}-{index:06d}.png"

    def good(self, index: int) -> str:
        return f"images/train/good-{index:06d}.png"

    def finish(self, folder: Path, held: Contents) -> None:
        for record in held.records:
            height, width = read_png(folder / record["details"]["mask"]).shape[:2]
            x, y, w, h = record["details"]["box"]
            numbers = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
            line = " ".join([str(list(held.defects).index(record["label"])), *(f"{number:.6f}" for number in numbers)])
            write_atomically(folder / _label_of(record["file"]), line + "\n")
        for path in held.good:  # nothing is there: an empty file
            write_atomically(folder / _label_of(path), "")
        facts = {"path": ".", "train": "images/train", "val": "images/train", "names": dict(enumerate(held.defects))}
        write_atomically(folder / "data.yaml", yaml.safe_dump(facts, sort_keys=False, allow_unicode=True))


LAYOUTS: dict[str, type[Classes] | type[MVTec] | type[Coco] | type[Yolo]] = {
    "classes": Classes,
    "mvtec": MVTec,
    "coco": Coco,
    "yolo": Yolo,
}


def box_of(mask: np.ndarray) -> list[int]:
    """The box around what a mask [H, W] marks: left, top, width and height, in pixels; zeros where it marks nothing."""
    rows, columns = np.nonzero(mask >= 128)
    if not len(rows):
        return [0, 0, 0, 0]
    top, left = int(rows.min()), int(columns.min())
    return [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1]


def run_lengths(marked: np.ndarray) -> list[int]:
    """COCO's run lengths of a mask [H, W], bool: column by column, of what is not marked and what is in turn."""
    flat = marked.flatten(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [len(flat)]])
    lengths = np.diff(edges).tolist()
    return [0, *lengths] if len(flat) and flat[0] else lengths


def _image(number: int, path: str, shape: Iterable[int]) -> dict[str, Any]:
    height, width = shape
    return {"id": number, "file_name": path, "height": int(height), "width": int(width)}


def _label_of(path: str) -> str:
    return str(Path("labels") / Path(path).relative_to("images").with_suffix(".txt"))
