"""From a trained model and a method to the configuration of a fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sadm.core.config import merge
from sadm.core.errors import UserError
from sadm.data import ImageSet
from sadm.finetuning.config import METHODS
from sadm.training.config import TrainConfig, load_train_config
from sadm.training.model_folder import Model, load_model

LEARNING_RATES = {
    "full": 1e-3,
    "lora": 4e-3,
    "dora": 4e-3,
    "difffit": 8e-3,
    "bitfit": 8e-3,
    "vpt": 8e-3,
    "adapter": 8e-3,
}
"""Peak learning rates by method, from the search of `benchmarks.finetuning`."""

USUAL: dict[str, Any] = {
    "signal": "none",
    "optimiser": {"steps": 300, "batch": 32, "warmup_steps": 20, "ema_half_life": 2000.0},
    "log": {"checkpoint_every": 100},
}
"""What differs from training from scratch."""


def finetune_config(source: str | Path, method: str, change: dict[str, Any] | None = None) -> TrainConfig:
    """The configuration of a fine-tuning: network, process, image size and sampling of the model, and what suits the method.

    Args:
        source: a run or model folder.
        method: one of `METHODS`.
        change: further keys, which win, such as ``{"data": {"source": "path/to/images"}}``.

    Raises:
        UserError: there is no such model or method, or a key is wrong.
    """
    if method not in METHODS:
        raise UserError(f"unknown fine-tuning method '{method}'; there are {', '.join(METHODS)}.")
    model = load_model(source)
    values = merge(USUAL, {"start_from": str(source), "finetune": {"method": method}, **taken_from(model)})
    values = merge(values, {"optimiser": {"learning_rate": LEARNING_RATES[method]}})
    return load_train_config(overrides=merge(values, change or {}))


def taken_from(model: Model) -> dict[str, Any]:
    """The keys of a configuration that a model's weights fix, and those that its own training chose well for its images."""
    spec = model.spec
    data: dict[str, Any] = {}
    if model.autoencoder is not None:
        codec = model.codec()
        assert codec is not None  # noqa: S101 - for the type checker
        data = {"autoencoder": model.autoencoder, "resolution": spec.shape[1] * codec.factor}
    else:
        data = {"channels": spec.shape[0], "resolution": spec.shape[1]}
    return {
        "data": data,
        "net": spec.net.model_dump(mode="json"),
        "process": {**spec.process.model_dump(mode="json"), "sigma_data": spec.sigma_data},
        "sampling": model.sampling.model_dump(mode="json"),
    }


def refuse_too_few(config: TrainConfig, images: ImageSet) -> None:
    """Refuses a fine-tuning on fewer images than a batch, in which images would stand beside themselves.

    Args:
        config: of the run.
        images: those that are learned from.

    Raises:
        UserError: there are too few.
    """
    count, batch = len(images), config.optimiser.batch - config.prior_batch
    if config.start_from is not None and count < batch:
        raise UserError(
            f"{images.source} has {count} training images, fewer than a batch of {batch}: images would stand beside themselves. "
            f"Give --optimiser.batch {max(2, count // 2)} or less, or more images."
        )
