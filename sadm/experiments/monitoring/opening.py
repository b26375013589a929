"""New images as a run would see them, and what is known of their files."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable

import numpy as np
import torch

from sadm.core.errors import UserError
from sadm.core.progress import Reporter
from sadm.data import ImageSet, Split
from sadm.data.decoding import opened
from sadm.data.records import Record, Unreadable
from sadm.data.sources import list_source
from sadm.experiments.auditing.runs import fitted_images
from sadm.training.config import TrainConfig
from sadm.training.run import say_skipped

_TILE = re.compile(r"[#,]x=\d+,y=\d+$")


@dataclasses.dataclass(frozen=True)
class NewImages:
    """What a folder holds that the run does not know.

    Attributes:
        images: that are new.
        known_training, known_held_out: how many have the pixels of a training or held-out image, and are left out.
        unreadable: files that were left out.
    """

    images: ImageSet
    known_training: int
    known_held_out: int
    unreadable: int


def new_images(source: str, config: TrainConfig, split: Split, reporter: Reporter) -> NewImages:
    """Opens new images.

    Args:
        source: a folder, or any other source.
        config: of the run.
        split: its images.
        reporter: told about progress, and what was left out.

    Raises:
        UserError: it holds no images, or none but those of the run.
    """
    images = fitted_images(source, config, split, reporter)
    say_skipped(images, reporter)
    in_training, in_held_out = (torch.isin(images.keys, part.keys).numpy() for part in (split.train, split.held_out))
    in_held_out &= ~in_training
    new = ~(in_training | in_held_out)
    known = f"{int(in_training.sum())} are training images and {int(in_held_out.sum())} held-out ones"
    if not new.any():
        raise UserError(
            f"{source} holds no new images: of its {len(images)} images {known} of this model. Give the folder of images that "
            "were taken since."
        )
    if new.sum() < 2:
        raise UserError(f"{source} holds 1 new image ({known}); at least 2 are needed to compare. Add new images.")
    if not new.all():
        reporter.say(f"Left out as known: of {len(images)} images {known}.")
    chosen = images.subset(torch.from_numpy(np.flatnonzero(new)))
    return NewImages(chosen, int(in_training.sum()), int(in_held_out.sum()), len(images.skipped))


def file_sizes(run_source: str, new_source: str) -> Callable[[ImageSet], dict[str, np.ndarray]] | None:
    """What gives, of images of either source, the side (the smaller one, in pixels) and the aspect (larger by smaller) of files.

    None where a source has no files, or some of them can't be asked.
    """
    sizes: dict[str, dict[str, tuple[int, int]]] = {}
    for source in (run_source, new_source):
        listing = list_source(source)
        if listing is None:
            return None
        sizes[source] = {record.name: size for record in listing.records if (size := _size(record)) is not None}

    def of(images: ImageSet) -> dict[str, np.ndarray]:
        known = sizes[new_source if images.source == new_source else run_source]
        found = np.array([known.get(_TILE.sub("", name), (0, 1)) for name in images.names], dtype=np.float64)
        return {"side": found.min(1), "aspect": found.max(1) / found.min(1).clip(1)}

    return of


def _size(record: Record) -> tuple[int, int] | None:
    with (
        contextlib.suppress(Unreadable, OSError, ValueError, SyntaxError),
        opened(record.content, record.page) as image,
    ):
        return image.size
    return None
