"""A run whose classes are to be filled: its model, what it was trained on, and held-out images to filter and to measure by."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from sadm.applications.images import open_model
from sadm.core.errors import UserError
from sadm.core.progress import Reporter
from sadm.data import ImageSet
from sadm.evaluation import HeldOutParts
from sadm.evaluation.downstream.measure import FEWEST
from sadm.training.config import TrainConfig
from sadm.training.model_folder import Model
from sadm.training.run import read_run_config, split_for
from sadm.training.trained import refuse_other_images


@dataclasses.dataclass(frozen=True)
class Opened:
    """A model with its images.

    Attributes:
        config: of the training, with the source that was given.
        model: draws images of these classes.
        training: what it was trained on.
        held_out: what it never saw, all of it.
        fresh: held-out images that the filters may use.
        test: others, which nothing is chosen by; the same third that `sadm evaluate --downstream` judges by.
    """

    config: TrainConfig
    model: Model
    training: ImageSet
    held_out: ImageSet
    fresh: ImageSet
    test: ImageSet

    @property
    def source(self) -> str:
        """As the user named it."""
        return self.config.data.source

    @property
    def labels(self) -> torch.Tensor:
        """Of the training images [N]."""
        assert self.training.labels is not None  # noqa: S101 - for the type checker; `open_trained` has checked
        return self.training.labels


def open_trained(
    run: str | Path, data: str | None, device: str, reporter: Reporter, policy: str | None = None
) -> Opened:
    """Opens a run and its images.

    Args:
        run: a run folder.
        data: where its images are now; None = where they were.
        device: see `load_model`.
        reporter: see `split_for`.
        policy: see `open_model`.

    Raises:
        UserError: there is no run, its model knows no classes or draws several shapes, or the images are not those that it was
            trained on, or too few.
    """
    config, model = read_run_config(run), open_model(run, device, policy)
    if data is not None:
        config = config.model_copy(update={"data": config.data.model_copy(update={"source": data})})
    source, spec = config.data.source, model.spec
    if not spec.class_names:
        raise UserError(
            f"the model in {run} knows no classes, so none can be filled. Train one on labelled images: a folder for each class, "
            "or a metadata.csv with labels."
        )
    if spec.shapes:
        raise UserError(
            f"the model in {run} draws images of several shapes (--data.fit buckets), which can't be filtered yet. Train one "
            "with --data.fit crop or pad."
        )
    split = split_for(config, reporter)
    _refuse_other_classes(run, model, split.train)
    refuse_other_images(model, split, source, run)
    if len(split.train) < FEWEST or len(spec.class_names) < 2:
        raise UserError(
            f"{len(split.train)} training images of {len(spec.class_names)} classes are too few for the classifiers that filter "
            f"what is drawn; at least {FEWEST} images and 2 classes are needed."
        )
    judging, reference, floor = HeldOutParts.positions(split.held_out)
    fresh = split.held_out.subset(torch.cat([judging, reference]).sort().values)
    return Opened(config, model, split.train, split.held_out, fresh, split.held_out.subset(floor))


def _refuse_other_classes(run: str | Path, model: Model, images: ImageSet) -> None:
    names, shape = model.spec.class_names, model.spec.shape
    if images.class_names != names:
        raise UserError(
            f"the model in {run} draws the classes {', '.join(names)}; {images.source} has "
            f"{', '.join(images.class_names) or 'none'}. Give the images that it was trained on (--data)."
        )
    if not model.draws_latents and images.shape != shape:
        found, own = (f"{w}x{h} pixels with {c} channels" for c, h, w in (images.shape, shape))
        raise UserError(
            f"the model in {run} draws images of {own}; those of {images.source} have {found}. Give the images that it was "
            "trained on (--data)."
        )
