"""Images in a folder: in the layout of the source, so that they can be laid beside the real ones, or with these."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image

from sadm.applications.augment.filling import FilledClass, Kept
from sadm.core.errors import InterruptedRun, UserError
from sadm.core.files import write_atomically
from sadm.core.grids import read_png, write_png
from sadm.core.progress import Reporter
from sadm.core.stopping import StopRequest
from sadm.data import ImageSet
from sadm.data.export import METADATA, class_folders
from sadm.data.imageset import HELD_OUT, TRAIN
from sadm.data.sources import list_source
from sadm.training.outputs import GeneratedImages, read_records

PARTS = (TRAIN, HELD_OUT)
TASK = "writing images"


def has_class_folders(source: str) -> bool:
    """Whether a source has its classes from the folders that its images lie in."""
    listing = list_source(source)
    if listing is None or listing.class_names is not None:  # tables name their classes
        return False
    return bool(listing.records) and all(record.class_name and "/" in record.name for record in listing.records)


def folders_for(names: Sequence[str], as_read: bool) -> list[str]:
    """The folder of each class: called as the class where that is a folder's name already, else made of plain letters."""
    return list(names) if as_read else class_folders(tuple(names))


class Writer:
    """Writes images into a folder, each once.

    Args:
        outputs: the folder, open for generated images.
        images: training images, whose classes these are.
        folders: of each class; see `folders_for`.
        stop: asked between images.
        reporter: told about progress.
        total: images in all.
    """

    def __init__(
        self,
        outputs: GeneratedImages,
        images: ImageSet,
        folders: Sequence[str],
        stop: StopRequest,
        reporter: Reporter,
        total: int,
    ) -> None:
        self.outputs, self.images, self.folders = outputs, images, folders
        self.stop, self.reporter, self.total = stop, reporter, total
        self.rows: list[tuple[str, str, str]] = []  # file, label and part of each image written

    def generated(self, filled: FilledClass) -> None:
        """Writes the images of a class with their marks, and a line about each.

        Raises:
            UserError: a file can't be written.
            InterruptedRun: stopped; what was written stays.
        """
        label = self.images.class_names[filled.label]
        for kept in filled.kept:
            name = f"{self.folders[filled.label]}/generated-{kept.index:06d}.png"
            self._begin(name, label, TRAIN)
            if not self.outputs.has(name):
                self.outputs.add(name, kept.pixels, seed=kept.seed, label=label, details=self._details(kept))

    def real(self, images: ImageSet, part: str) -> None:
        """Copies real images as the model sees them; errors as of `generated`."""
        assert images.labels is not None  # noqa: S101 - for the type checker; labels were checked
        digits = max(6, len(str(len(images) - 1)))
        for number, label in enumerate(images.labels.tolist()):
            name = f"{self.folders[label]}/{part}-{number:0{digits}d}.png"
            self._begin(name, images.class_names[label], part)
            path = self.outputs.folder / name
            if not path.exists():
                write_png(path, images.images[number].permute(1, 2, 0).contiguous().numpy())

    def table(self) -> None:
        """Writes metadata.csv: file, label, and the part of the split that each image belongs to."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("file_name", "label", "split"))
        writer.writerows(self.rows)
        write_atomically(self.outputs.folder / METADATA, text.getvalue())

    def _begin(self, name: str, label: str, part: str) -> None:
        if self.stop.requested:
            raise InterruptedRun(
                f"Stopped after writing {len(self.rows)} of {self.total} images. To go on, run the same command."
            )
        self.rows.append((name, label, part))
        self.reporter.update(TASK, len(self.rows), self.total)

    def _details(self, kept: Kept) -> dict[str, object]:
        values: dict[str, object] = dict(kept.values)
        values["nearest"] = self.images.names[int(kept.values["nearest"])]
        return {"sequence": kept.sequence, "index": kept.index, **values}


def write_all(
    writer: Writer, filled: Iterable[FilledClass], real: Sequence[tuple[str, ImageSet]], with_table: bool
) -> None:
    """Writes what was filled and, of `real`, each set as a part of the split; see `Writer`."""
    for one in filled:
        writer.generated(one)
    for part, images in real:
        writer.real(images, part)
    if with_table:
        writer.table()


def written_images(folder: Path, images: ImageSet) -> ImageSet:
    """The generated images that are in a folder now; those that somebody has taken out are missing.

    Args:
        folder: which `generated_images` wrote.
        images: training images, whose shape and classes these have.

    Raises:
        UserError: a file can't be read, or has another shape.
    """
    records = [record for _, record in sorted(read_records(folder).items()) if (folder / record["file"]).is_file()]
    pixels = [_read(folder / record["file"], images.shape) for record in records]
    labels = torch.tensor([images.class_names.index(record["label"]) for record in records], dtype=torch.int64)
    names = tuple(record["file"] for record in records)
    stacked = torch.stack(pixels) if pixels else torch.empty(0, *images.shape, dtype=torch.uint8)
    return ImageSet(stacked, labels, images.class_names, names, str(folder))


def _read(path: Path, shape: tuple[int, int, int]) -> torch.Tensor:
    try:
        values = read_png(path)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} can't be read as a PNG file: {error}. Restore it, or delete it.") from error
    pixels = torch.from_numpy(values).permute(2, 0, 1).contiguous()
    if pixels.dtype != torch.uint8 or tuple(pixels.shape) != shape:
        raise UserError(f"{path} has {tuple(pixels.shape)} pixels of {pixels.dtype}; expected {shape} of uint8.")
    return pixels
