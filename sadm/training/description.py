"""What a model's description says of its network, checked: it comes from anywhere, and decides how much memory is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from sadm.core.conditions import AttributeScale
from sadm.core.config import Count, Positive, PositiveFloat
from sadm.core.errors import UserError
from sadm.core.files import read_object
from sadm.data.told import DAMAGE
from sadm.models.weights.proportion import check_proportion, convolution_parameters, transformer_parameters
from sadm.training.config import DenoiserConfig, NetConfig
from sadm.training.spec import ModelSpec

FORMAT = 1
WEIGHTS, DESCRIPTION, AUTOENCODER = "model.safetensors", "model.json", "autoencoder"
DAMAGED = (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError, OSError)
"""What reading a damaged description raises."""
_POSITIONS = 1 << 22  # numbers


class _Described(BaseModel):
    """What a description says of its network."""

    shape: tuple[Positive, Positive, Positive]
    net: NetConfig
    sigma_data: PositiveFloat
    class_names: tuple[str, ...]
    label_counts: tuple[Count, ...]
    process: DenoiserConfig = DenoiserConfig()  # older models are EDM's
    augment: tuple[str, ...] = ()
    attributes: tuple[AttributeScale, ...] = ()
    pictures: tuple[Literal["masks", "damage"], ...] = ()
    centred: bool = False  # older models are not
    shapes: tuple[tuple[Positive, Positive], ...] = ()
    shape_counts: tuple[tuple[Count, ...], ...] = ()


def spec_of(description: dict[str, Any]) -> ModelSpec:
    """The specification in a description.

    Raises:
        ValueError: it is damaged.
    """
    found = _Described.model_validate(description)
    if len(found.label_counts) != len(found.class_names) or len(found.shape_counts) != len(found.shapes):
        raise ValueError("its counts are not those of its classes and shapes")
    if found.centred and DAMAGE not in found.pictures:
        raise ValueError("it starts from a damaged image that it is not told of")
    return ModelSpec(**{name: getattr(found, name) for name in _Described.model_fields})


def check_claims(spec: ModelSpec, weights: Path, where: Path) -> None:
    """Refuses a description of a network that its file of weights can't be of, before it is built.

    Raises:
        UserError: it claims more parameters than the file has bytes.
        OSError: there is no such file.
    """
    net, (_, height, width) = spec.net, spec.shape
    if net.kind == "unet":
        claimed = convolution_parameters(net.unet.channels, net.unet.layers)
        claimed += 2 * 9 * net.unet.channels[0] * spec.shape[0] * net.unet.patch**2  # first and last
    else:
        tokens = height / net.patch * width / net.patch + net.registers
        claimed = transformer_parameters(net.width, net.depth, net.mlp_ratio, net.patch, spec.shape)
        claimed += max(0, net.width * tokens - _POSITIONS)  # some are computed, others learned
    check_proportion(claimed, weights.stat().st_size, where)


def model_folder_in(path: str | Path) -> Path:
    """The model folder in a run folder, or the folder itself where it has none inside."""
    inside = Path(path) / "model"
    return inside if inside.is_dir() else Path(path)


def holds_model(path: str | Path) -> bool:
    """Whether this is a model folder, or a run folder with one."""
    return (model_folder_in(path) / DESCRIPTION).is_file()


def model_description(path: str | Path) -> tuple[Path, dict[str, Any]]:
    """A model's folder, and its description as it stands there.

    Raises:
        UserError: there is no model, or its description can't be read.
    """
    folder = model_folder_in(path)
    if not (folder / DESCRIPTION).is_file():
        raise UserError(
            f"no model in {path}: expected {DESCRIPTION} there or in its 'model' folder. Train one with: sadm train --out {path}"
        )
    description = read_object(folder / DESCRIPTION)
    if description.get("format") != FORMAT:
        raise UserError(
            f"{folder / DESCRIPTION} has format {description.get('format')}; this version reads format {FORMAT}."
        )
    return folder, description


def model_spec(path: str | Path) -> ModelSpec:
    """The specification of a model, without its weights.

    Raises:
        UserError: there is no model, or its description is damaged.
    """
    folder, description = model_description(path)
    try:
        return spec_of(description)
    except DAMAGED as error:
        raise UserError(f"the model in {folder} can't be loaded: {error}") from error
