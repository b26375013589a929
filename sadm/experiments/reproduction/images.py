"""Generated images that lie as a data set's do: for a rehearsal, since no data set comes with this package."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from sadm.core.files import make_folder, write_atomically
from sadm.experiments.reproduction.targets import ImagesOf

PER_CLASS = 8
UNLABELLED = 24
_FORMATS = {"jpg": "JPEG", "JPEG": "JPEG", "png": "PNG"}
_CELL = 16  # pixels of a blot's side


def write_like(images: ImagesOf, folder: Path) -> Path:
    """Writes images in the layout, the sizes and the format of a data set.

    Args:
        images: the data set.
        folder: where; created.

    Returns:
        What ``--data`` names.
    """
    make_folder(folder)
    classes = images.examples or [""]
    count = PER_CLASS if images.examples else UNLABELLED
    files: dict[tuple[str, int], bytes] = {}  # by class and number, the file's content
    for row, name in enumerate(classes):
        for number in range(count):
            size = images.size[number % len(images.size)]
            files[name, number] = _encoded(_picture(size, row, number), images.file)
    if images.layout == "dataset_json":
        return _zip(folder / "images.zip", files, classes, images)
    rows: list[tuple[str, str]] = []
    for (name, number), content in files.items():
        part = ("train/" if number % 4 else "test/") if images.layout == "parts" else ""
        own = f"{name}/" if images.layout in ("class_folders", "parts") else ""
        file = f"{part}{own}image_{number if own else len(rows):05}.{images.file}"
        write_atomically(folder / file, content)
        rows.append((file, name))
    if images.layout == "table":
        write_atomically(folder / "metadata.csv", _table(rows))
    return folder


def _picture(size: tuple[int, int], row: int, number: int) -> Image.Image:
    """Blots of a colour that goes with the class."""
    draws = np.random.default_rng([row, number])
    width, height = size
    coarse = draws.integers(0, 256, (max(2, height // _CELL), max(2, width // _CELL), 3))
    coarse[..., row % 3] = 255 - coarse[..., row % 3] // 4
    return Image.fromarray(coarse.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)


def _encoded(picture: Image.Image, ending: str) -> bytes:
    content = io.BytesIO()
    picture.save(content, _FORMATS[ending])
    return content.getvalue()


def _table(rows: list[tuple[str, str]]) -> str:
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([("file_name", "label"), *rows])
    return content.getvalue()


def _zip(path: Path, files: dict[tuple[str, int], bytes], classes: list[str], images: ImagesOf) -> Path:
    """As EDM's tool writes it: images by number, not compressed, and a dataset.json."""
    content, labels = io.BytesIO(), []
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for place, ((name, _), picture) in enumerate(files.items()):
            file = f"00000/img{place:08}.{images.file}"
            archive.writestr(file, picture)
            labels.append([file, classes.index(name)])
        archive.writestr("dataset.json", json.dumps({"labels": labels if images.labelled else None}))
    write_atomically(path, content.getvalue())
    return path
