"""What applications begin with: a model with the user's way of sampling, and images of the kind that it was trained on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from sadm.core.config import build_config
from sadm.core.errors import UserError
from sadm.core.progress import Reporter
from sadm.data import Fit, ImageSet, open_source
from sadm.data.imageset import named_parts
from sadm.data.splitting import division_of
from sadm.training.config import SamplingConfig
from sadm.training.model_folder import Model, load_model
from sadm.training.run import CONFIG, read_run_config, split_for
from sadm.training.trained import split_of


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

    Images of another source are read as the run read its own, and divided as it would divide them; of those beside a model
    without a run, all are taken that the source does not hold out.

    Args:
        run: the run or model folder.
        model: that is in there.
        source: other images, of which the training part is taken; None = the run's own.
        reporter: told about reading, and about what was left out.

    Raises:
        UserError: they can't be opened, the run's own have changed since, or a folder holds no run and no other images are given.
    """
    if (Path(run) / CONFIG).is_file():
        return _of_run(run, model, source, reporter)
    if source is None:
        raise UserError(
            f"{run} holds a model, and no run that would say which images it was trained on. Give them: --data SOURCE"
        )
    channels, height, width = model.spec.shape
    if height != width:
        raise UserError(f"images of {width}x{height} pixels can't be opened here; give a model of square images.")
    fit = Fit(resolution=height, channels=channels)
    opened = open_source(source, fit=fit, progress=lambda done, total: reporter.update("images", done, total))
    if isinstance(opened, ImageSet):
        opened = division_of(opened) or opened
    return named_parts(opened)[0][1]


def _of_run(run: str | Path, model: Model, source: str | None, reporter: Reporter) -> ImageSet:
    """Training images of a run's own source, or of another that is read in the same way."""
    if source is None:
        return split_of(run, model, reporter).train
    config = read_run_config(run)
    change: dict[str, Any] = {"source": source}
    channels, height, width = model.spec.shape
    if not model.draws_latents and config.data.channels is None:  # the run decided from its images
        change["channels"] = channels
    if not model.draws_latents and config.data.resolution is None and height == width:  # its images had one size
        change["resolution"] = height
    data = config.data.model_copy(update=change)
    return split_for(config.model_copy(update={"data": data}), reporter).train


def with_sampling(model: Model, **change: Any) -> Model:
    """The model with other settings of its sampler; None leaves one as it is.

    Raises:
        UserError: a setting makes no sense.
    """
    given = {key: value for key, value in change.items() if value is not None}
    return dataclasses.replace(
        model, sampling=build_config(SamplingConfig, model.sampling.model_dump() | given, "sampling")
    )
