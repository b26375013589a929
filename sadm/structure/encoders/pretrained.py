"""Encoders from other packages, by name; the packages are imported when one of their encoders is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from sadm.structure.errors import StructureError


class PretrainedEncoder(nn.Module):
    """Brings images into the form that a pre-trained network was trained on; [B, C, H, W] -> [B, d].

    Args:
        network: from normalised images [B, 3, side, side] to features.
        features: takes the network's output to [B, d].
        mean: of each colour in the network's training images, whose values lie in [0, 1].
        std: the same for the standard deviation.
        side: images are resized to side x side pixels; None = left at their size.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        features: Callable[[Any], torch.Tensor],
        mean: Sequence[float],
        std: Sequence[float],
        side: int | None,
    ) -> None:
        super().__init__()
        self.network, self.features, self.side = network, features, side
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))  # [1, 3, 1, 1]
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1))  # [1, 3, 1, 1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embeddings [B, d] of images in [-1, 1] with one channel or three."""
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise StructureError(
                f"a pre-trained encoder expects grey or colour images [B, 1 or 3, H, W], got {tuple(x.shape)}. Latents need "
                "an encoder of their own, such as ConvEncoder"
            )
        images = (x.expand(-1, 3, -1, -1) + 1) / 2  # [B, 3, H, W]
        if self.side is not None and images.shape[2:] != (self.side, self.side):
            images = F.interpolate(images, (self.side, self.side), mode="bilinear", antialias=True)
        return self.features(self.network((images - self.mean) / self.std))


def load_encoder(name: str, side: int | None = None, pooling: Literal["mean", "first"] = "mean") -> PretrainedEncoder:
    """A pre-trained network as encoder, in evaluation mode, for pixels in [-1, 1].

    Args:
        name: ``timm:MODEL``, such as ``timm:resnet18.a1_in1k`` (its pooled features), or ``transformers:MODEL``, a name or folder
            that `AutoModel` loads, such as ``transformers:facebook/dinov2-small``.
        side: images are resized to side x side pixels; None = the size that the network was trained on.
        pooling: of a model of transformers, the mean of its last hidden state, or its first token, which sums up the image in
            many.

    Raises:
        StructureError: another form of name, a package that is not installed (the message names it), or a model that the
            package can't load.
    """
    package, _, model = name.partition(":")
    if package not in _LOADERS or not model:
        raise StructureError(
            f"unknown encoder {name!r}; expected {' or '.join(f'{package}:MODEL' for package in _LOADERS)}"
        )
    if side is not None and side < 1:
        raise StructureError(f"side must be at least 1 pixel, got {side}")
    try:
        module = importlib.import_module(package)
    except (ImportError, RuntimeError, OSError) as error:
        raise StructureError(
            f"encoder {name!r} needs the package {package}, which can't be imported ({error}). Install it: pip install {package}"
        ) from error
    try:
        encoder = _LOADERS[package](module, model, side, pooling)
    except (RuntimeError, OSError, ValueError) as error:
        raise StructureError(f"{package} can't load the model {model!r}: {error}") from error
    return encoder.eval()


def _from_timm(timm: Any, model: str, side: int | None, pooling: str) -> PretrainedEncoder:
    network = timm.create_model(model, pretrained=True, num_classes=0)  # 0 classes: pooled features [B, d]
    config = timm.data.resolve_model_data_config(network)
    return PretrainedEncoder(network, _as_is, config["mean"], config["std"], side or config["input_size"][-1])


def _from_transformers(transformers: Any, model: str, side: int | None, pooling: str) -> PretrainedEncoder:
    whole = transformers.AutoModel.from_pretrained(model)
    network = getattr(whole, "vision_model", whole)  # of a model of images and text
    processor = transformers.AutoImageProcessor.from_pretrained(model)
    side = side or getattr(network.config, "image_size", None) or _processed_side(processor)
    # A processor without mean and deviation does not normalise.
    mean, std = processor.image_mean or [0.0] * 3, processor.image_std or [1.0] * 3
    pooled = _first_token if pooling == "first" else _mean_hidden_state
    return PretrainedEncoder(network, pooled, mean, std, side)


_LOADERS: dict[str, Callable[[Any, str, int | None, str], PretrainedEncoder]] = {
    "timm": _from_timm,
    "transformers": _from_transformers,
}


def _as_is(output: torch.Tensor) -> torch.Tensor:
    return output


def _last_hidden_state(output: Any) -> torch.Tensor:
    # Not `pooler_output`: checkpoints often lack the pooler's weights, which are then random.
    hidden = getattr(output, "last_hidden_state", None)
    if hidden is None:
        raise StructureError(f"expected a vision model with a last hidden state; it gives a {type(output).__name__}")
    return hidden


def _first_token(output: Any) -> torch.Tensor:
    hidden = _last_hidden_state(output)
    if hidden.ndim != 3:
        raise StructureError(
            f"expected a vision model with tokens [B, T, D]; its last hidden state is {list(hidden.shape)}"
        )
    return hidden[:, 0]


def _mean_hidden_state(output: Any) -> torch.Tensor:
    hidden = _last_hidden_state(output)
    return hidden.mean(dim=1) if hidden.ndim == 3 else hidden.mean(dim=(2, 3))  # of [B, T, D] or [B, C, H, W]


def _processed_side(processor: Any) -> int | None:
    """The side of the images that a processor makes, where it says one."""
    for box in (getattr(processor, "crop_size", None), getattr(processor, "size", None)):
        for key in ("height", "shortest_edge"):
            side = dict(box or {}).get(key)
            if side:
                return int(side)
    return None
