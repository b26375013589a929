"""A finished run: its model, and what it was trained on."""

from __future__ import annotations

from pathlib import Path

from sadm.core.errors import UserError
from sadm.core.progress import Reporter
from sadm.data import Split
from sadm.training.config import TrainConfig
from sadm.training.model_folder import Model, load_model
from sadm.training.run import read_run_config, split_for


def open_run(
    run: str | Path, device: str = "cpu", reporter: Reporter | None = None
) -> tuple[TrainConfig, Model, Split]:
    """A run's configuration and model, the images that it was trained on, and those that it never saw.

    Args:
        run: its folder.
        device: see `load_model`.
        reporter: see `split_for`.

    Raises:
        UserError: there is no run, or no model yet, or its images have changed since.
    """
    config = read_run_config(run)
    model = load_model(run, device)
    return config, model, split_of(run, model, reporter)


def split_of(run: str | Path, model: Model, reporter: Reporter | None = None) -> Split:
    """The images that a run's model was trained on, and those that it never saw.

    Args:
        run: its folder.
        model: that is in there.
        reporter: see `split_for`.

    Raises:
        UserError: there is no run, or its images are gone or have changed since.
    """
    config = read_run_config(run)
    split = split_for(config, reporter)
    refuse_other_images(model, split, config.data.source, run)
    return split


def refuse_other_images(model: Model, split: Split, source: str, run: str | Path) -> None:
    """Refuses images that are not those that a model was trained on.

    Raises:
        UserError: with both fingerprints.
    """
    stored, now = model.description["data"]["fingerprint"], split.train.fingerprint()
    if stored != now:
        raise UserError(
            f"the images in {source} are not those that {run} was trained on (fingerprint {stored[:12]}, now {now[:12]}): "
            "held-out images could be training images."
        )
