"""From a trained model and a method to the configuration of a fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sadm.core.config import merge
from sadm.core.errors import UserError
from sadm.finetuning.config import METHODS, USUAL
from sadm.models import LatentCodec
from sadm.training.config import ProcessConfig, SamplingConfig, TrainConfig, load_train_config
from sadm.training.description import AUTOENCODER, DESCRIPTION, model_description, model_spec
from sadm.training.net_config import NetConfig
from sadm.training.run import CONFIG, read_run_config
from sadm.training.spec import ModelSpec

LEARNING_RATES = {
    "full": 4e-3,
    "lora": 3.2e-2,
    "dora": 3.2e-2,
    "difffit": 6.4e-2,
    "bitfit": 6.4e-2,
    "vpt": 6.4e-2,
    "adapter": 1.28e-1,
}
"""Peak learning rates by method on a network of `WIDTH`, from the search of `benchmarks.finetuning`."""
WIDTH = 96


def finetune_config(source: str | Path, method: str, change: dict[str, Any] | None = None) -> TrainConfig:
    """The configuration of a fine-tuning: network, process, image size and sampling of the model, and what suits the method.

    Noise levels, weighting and label dropout are those that the model learned with; the usual ones for a model that does not
    say, such as an imported one.

    Args:
        source: a run or model folder.
        method: one of `METHODS`.
        change: further keys, which win, such as ``{"data": {"source": "path/to/images"}}``.

    Raises:
        UserError: there is no such model or method, or a key is wrong.
    """
    if method not in METHODS:
        raise UserError(f"unknown fine-tuning method '{method}'; there are {', '.join(METHODS)}.")
    spec, learned = model_spec(source), learned_with(source)
    values = merge(USUAL, {"start_from": str(source), "finetune": {"method": method}, **taken_from(source, spec)})
    values = merge(
        values, {"process": {**learned, **spec.process.model_dump(mode="json"), "sigma_data": spec.sigma_data}}
    )
    values = merge(values, {"optimiser": {"learning_rate": learning_rate(method, spec.net)}})
    return load_train_config(overrides=merge(values, change or {}))


def learning_rate(method: str, net: NetConfig) -> float:
    """A method's peak learning rate for a network: the one that was found at `WIDTH`, falling with the width.

    That is the rule for matrices under Adam (Yang et al. 2022, arXiv 2203.03466); beyond the width at which the rates were
    searched, it is a guide and was not measured.
    """
    width = net.width if net.kind == "dit" else max(net.unet.channels)
    return float(f"{LEARNING_RATES[method] * WIDTH / width:.2g}")


def learned_with(source: str | Path) -> dict[str, Any]:
    """How a model learned, as keys of `ProcessConfig`: from its description, or from the run that it lies in.

    Raises:
        UserError: its description or the run's configuration is damaged.
    """
    if (Path(source) / CONFIG).is_file():
        return read_run_config(source).process.model_dump(mode="json")
    folder, description = model_description(source)
    try:
        return ProcessConfig.model_validate(description.get("learned", {})).model_dump(mode="json")
    except ValueError as error:
        raise UserError(
            f"the model in {folder} can't be fine-tuned: {DESCRIPTION} says how it learned, and {error}"
        ) from error


def taken_from(source: str | Path, spec: ModelSpec) -> dict[str, Any]:
    """The keys of a configuration that a model fixes, and how it is sampled; its weights are not loaded.

    Images are brought to the size of a model of squares; to one of other images, they have to come in their own.

    Raises:
        UserError: its description is damaged.
    """
    folder, description = model_description(source)
    try:
        sampling = SamplingConfig.model_validate(description["sampling"])
    except (KeyError, ValueError) as error:
        raise UserError(f"the model in {folder} can't be loaded: {error}") from error
    autoencoder, (channels, height, width) = folder / AUTOENCODER, spec.shape
    side = height if height == width else None
    if autoencoder.is_dir():
        pixels = None if side is None else side * LatentCodec.from_folder(autoencoder).factor
        data: dict[str, Any] = {"autoencoder": str(autoencoder), "resolution": pixels}
    else:
        data = {"channels": channels, "resolution": side}
    return {"data": data, "net": spec.net.model_dump(mode="json"), "sampling": sampling.model_dump(mode="json")}
