"""What a model's description says of its network, checked: it comes from anywhere, and decides how much memory is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from sadm.core.conditions import AttributeScale
from sadm.core.config import Count, Positive, PositiveFloat
from sadm.models.weights.proportion import check_proportion, convolution_parameters, transformer_parameters
from sadm.training.config import DenoiserConfig, NetConfig
from sadm.training.spec import ModelSpec

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
    else:
        tokens = height / net.patch * width / net.patch + net.registers
        claimed = transformer_parameters(net.width, net.depth, net.mlp_ratio, net.patch, spec.shape)
        claimed += max(0, net.width * tokens - _POSITIONS)  # some are computed, others learned
    check_proportion(claimed, weights.stat().st_size, where)
