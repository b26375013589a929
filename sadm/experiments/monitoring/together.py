"""Old and new images in one folder, and the configuration to train on it anew."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from sadm.core.config import write_yaml
from sadm.core.errors import UserError
from sadm.core.progress import Reporter
from sadm.core.stopping import StopRequest
from sadm.data import ImageSet, Split
from sadm.data.export import export
from sadm.data.imageset import HELD_OUT, TRAIN
from sadm.data.splitting import split_set
from sadm.training.config import TrainConfig
from sadm.training.data_config import OF_FIT, DataConfig

FOLDER, CONFIG = "together", "retrain.yaml"
_KEPT_FITS = ("crop", "pad", "buckets")  # which leave images alone that they have brought to shape before


def write_together(
    config: TrainConfig, split: Split, new: ImageSet, out: Path, reporter: Reporter
) -> tuple[Path, Path]:
    """Writes the run's images and the new ones, as the model sees them, and a configuration that trains on both.

    Images that were held out stay so; of the new images, the same share is held out, classes in proportion and groups whole;
    a group that the run knows stays on its side, and a few images that can't be divided are trained on.

    Args:
        config: of the run.
        split: its images.
        new: new images, labelled if those are.
        out: where the folder and the configuration come to lie.
        reporter: told about progress.

    Returns:
        The folder and the configuration's path.

    Raises:
        UserError: the new images lack labels, or nothing can be written.
        InterruptedRun: stopped by Ctrl-C or SIGTERM; the same call goes on.
    """
    folder, path = out / FOLDER, out / CONFIG
    with StopRequest() as stop:
        export(
            _parts(split, new, config.data.held_out, config.seed),
            folder,
            lambda done, total: reporter.update("writing images", done, total),
            stop=lambda: stop.requested,
        )
    write_yaml(path, config.model_copy(update={"data": _data(config.data, split.train, folder)}))
    return folder, path


def _parts(split: Split, new: ImageSet, held_out: float, seed: int) -> list[tuple[str, ImageSet]]:
    labelled = split.train.labels is not None
    if labelled and new.labels is None:
        raise UserError(
            f"{new.source} has no labels, and the model draws the classes {', '.join(split.train.class_names)}. Sort the new "
            "images into one folder for each class and run the same command again."
        )
    names: tuple[str, ...] = split.train.class_names
    if labelled and new.labels is not None:
        present = {new.class_names[c] for c in new.labels.unique().tolist()}
        names = (*names, *sorted(present - set(names)))
    sets = [(TRAIN, split.train), (HELD_OUT, split.held_out), *_divided(split, new, held_out, seed)]
    common = len({images.attribute_names for _, images in sets}) == 1
    return [(part, _bare(images, names if labelled else (), common)) for part, images in sets]


def _divided(split: Split, new: ImageSet, held_out: float, seed: int) -> list[tuple[str, ImageSet]]:
    """New images on both sides; those of a group that is on one side already follow it."""
    sides = dict.fromkeys(split.train.groups or (), TRAIN) | dict.fromkeys(split.held_out.groups or (), HELD_OUT)
    known = [sides.get(group, "") for group in new.groups or [""] * len(new)]
    at = {part: torch.tensor([i for i, own in enumerate(known) if own == part]) for part in (TRAIN, HELD_OUT, "")}
    found = [(part, new.subset(at[part])) for part in (TRAIN, HELD_OUT) if len(at[part])]
    if len(at[""]):
        rest = dataclasses.replace(new.subset(at[""]), parts=None)
        try:
            divided = split_set(rest, held_out, seed)
        except UserError:  # too few, or one group: training gets them
            return [*found, (TRAIN, rest)]
        found += [(TRAIN, divided.train), (HELD_OUT, divided.held_out)]
    return found


def _bare(images: ImageSet, names: tuple[str, ...], attributes: bool) -> ImageSet:
    """With labels by `names`, and without what other sets may lack."""
    labels = None
    if names and images.labels is not None:
        place = torch.tensor([names.index(name) if name in names else -1 for name in images.class_names])
        labels = place[images.labels]
    changes: dict[str, Any] = {} if attributes else {"attributes": None, "attribute_names": ()}
    return dataclasses.replace(
        images, labels=labels, class_names=names, parts=None, uncropped=None, tiles=None, **changes
    )


def _data(data: DataConfig, images: ImageSet, folder: Path) -> DataConfig:
    """The same data, but for what has been done to these images already."""
    fresh = DataConfig().model_dump()
    done = {name: fresh[name] for name in ("limit", "keep", "clean_class", "latents", "white_level")}
    changes: dict[str, Any] = {"source": str(folder), "channels": images.shape[0], **done}
    if data.fit not in _KEPT_FITS:
        changes |= {"fit": "crop", "resolution": images.shape[2]}
        changes |= {name: fresh[name] for name, fit in OF_FIT.items() if fit == data.fit}
    return DataConfig.model_validate(data.model_dump() | changes)
