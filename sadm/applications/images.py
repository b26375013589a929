"""What applications begin with: a model with the user's way of sampling, and images of the kind that it was trained on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from sadm.core.config import build_config
from sadm.core.errors import UserError
from sadm.core.progress import Reporter
from sadm.data import Fit, ImageSet, Split, open_source
from sadm.data.imageset import named_parts
from sadm.training.config import SamplingConfig
from sadm.training.model_folder import Model, load_model
from sadm.training.run import CONFIG, read_run_config, split_for


def open_model(path: str | Path, device: str, policy: str | None = None, **sampling: Any) -> Model:
    """Loads a model.

    Args:
        path: a run or model folder.
        device: see `load_model`.
        policy: file of the usage policy that holds for it; None = that in its folder, if there is one.
        sampling: other settings of its sampler; None leaves one as it is.

    Raises:
        UserError: there is none, or a setting makes no sense.
    """
    return with_sampling(dataclasses.replace(load_model(path, device), policy=policy), **sampling)


def images_for(run: str | Path, model: Model, source: str | None, reporter: Reporter) -> ImageSet:
    """Images of the kind that a model was trained on.

    Args:
        run: the run or model folder.
        model: that is in there.
        source: other images, of a source that comes divided the training part; None = that of the run's own.
        reporter: told about reading, and about what was left out.

    Raises:
        UserError: they can't be opened, or a folder holds no run and no other images are given.
    """
    if source is not None:
        channels, height, width = model.spec.shape
        if height != width:
            raise UserError(f"images of {width}x{height} pixels can't be opened here; give a model of square images.")
        fit = Fit(resolution=height, channels=channels)
        opened = open_source(source, fit=fit, progress=lambda done, total: reporter.update("images", done, total))
        return named_parts(opened)[0][1]
    if not (Path(run) / CONFIG).is_file():
        raise UserError(
            f"{run} holds a model, and no run that would say which images it was trained on. Give them: --data SOURCE"
        )
    return split_for(read_run_config(run), reporter).train


def held_out_split(run: str | Path, reporter: Reporter) -> Split:
    """A run's training images and those that it has held out.

    Raises:
        UserError: the folder holds no run, or the images are gone.
    """
    return split_for(read_run_config(run), reporter)


def with_sampling(model: Model, **change: Any) -> Model:
    """The model with other settings of its sampler; None leaves one as it is.

    Raises:
        UserError: a setting makes no sense.
    """
    given = {key: value for key, value in change.items() if value is not None}
    return dataclasses.replace(
        model, sampling=build_config(SamplingConfig, model.sampling.model_dump() | given, "sampling")
    )
