"""`Extractor`: a network that turns images into features, with what must be known to cache and to report them."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sadm.core.devices import resolve_device
from sadm.core.errors import UserError
from sadm.data import to_floats
from sadm.evaluation.features.inception import load_inception
from sadm.structure import StructureError, load_encoder

OUTPUTS = ("features", "spatial", "logits")
"""What a network may give: features [B, d]; and for some metrics spatial features [B, c, h, w] and class logits [B, K]."""
DINOV2, DINOV2_SIDE = "facebook/dinov2-base", 224
_WELL_KNOWN = ("inception", "dinov2")  # one is enough in a comparison, so the name need not tell which


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A feature space.

    Attributes:
        name: key in results.
        title: what it is, for a report.
        network: from pixels [B, 3, H, W], uint8, to features [B, d], or to a mapping with some of `OUTPUTS`; in evaluation mode.
        identity: what tells its numbers from those of others: a hash over weights and kind.
        device: where the network is.
        batch: images at a time.
        published: whether its weights are known to be from elsewhere, so that it shares nothing with a model that is judged.
    """

    name: str
    title: str
    network: nn.Module
    identity: str
    device: torch.device
    batch: int = 64
    published: bool = False

    @torch.no_grad()
    def __call__(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the network gives for images.

        Args:
            pixels: [B, 1 or 3, H, W], uint8; grey becomes three equal colours.

        Returns:
            By name (see `OUTPUTS`), float32 on the CPU.

        Raises:
            UserError: images of other channels, or a network that gives something else or NaN.
        """
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] not in (1, 3):
            raise UserError(
                f"{self.title} looks at grey or colour images [B, 1 or 3, H, W] of uint8, got {pixels.dtype} "
                f"{list(pixels.shape)}. Bring them to one or three channels (--data.channels)."
            )
        given = self.network(pixels.expand(-1, 3, -1, -1).to(self.device))
        outputs = {"features": given} if isinstance(given, torch.Tensor) else dict(given)
        self._check(outputs, len(pixels))
        return {name: outputs[name].float().cpu() for name in OUTPUTS if name in outputs}

    def _check(self, outputs: dict[str, Any], count: int) -> None:
        features = outputs.get("features")
        if not isinstance(features, torch.Tensor) or features.ndim != 2 or len(features) != count:
            found = list(features.shape) if isinstance(features, torch.Tensor) else sorted(outputs)
            raise UserError(f"{self.title} gave {found} for {count} images; expected features [{count}, d].")
        for name, tensor in outputs.items():
            if not bool(torch.isfinite(tensor).all()):
                raise UserError(
                    f"{self.title} gave NaN or infinite {name}. Check its weights and what it expects of images."
                )


class OfFloats(nn.Module):
    """A network that expects pixels as this package's own do: float32 in [-1, 1]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> Any:
        return self.network(to_floats(pixels))


def open_extractor(text: str, device: str = "auto") -> Extractor:
    """A feature space by what a user calls it.

    Args:
        text: ``inception`` or ``inception:FILE``, FID's network; ``dinov2`` or ``dinov2:MODEL``, a name or folder that
            transformers loads, its class token; ``transformers:MODEL``, the mean of a vision model's last tokens; ``timm:MODEL``,
            its pooled features; ``python:MODULE:FUNCTION``, a function that returns a module from images [B, 3, H, W],
            float32 in [-1, 1], to features [B, d].
        device: where it works (see `resolve_device`).

    Raises:
        UserError: another form, a package that is missing, weights that can't be loaded.
    """
    kind, _, argument = text.partition(":")
    if kind not in _KINDS:
        raise UserError(f"unknown feature space '{text}'; expected {', '.join(FORMS)}.")
    network, title = _KINDS[kind](argument)
    where = resolve_device(device)
    network = network.eval().requires_grad_(False)
    name = kind if kind in _WELL_KNOWN else text
    return Extractor(name, title, network.to(where), identity_of(network), where, published=kind != "python")


def identity_of(network: nn.Module) -> str:
    """Hexadecimal SHA-256 over a network's printed structure and all its tensors."""
    digest = hashlib.sha256(repr(network).encode("utf-8"))
    for name, tensor in network.state_dict().items():
        digest.update(name.encode("utf-8"))
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _inception(file: str) -> tuple[nn.Module, str]:
    return load_inception(file or None), "InceptionV3 (FID’s)"


def _dinov2(model: str) -> tuple[nn.Module, str]:
    name = model or DINOV2
    return _published(f"transformers:{name}", side=DINOV2_SIDE, pooling="first"), f"DINOv2 ({Path(name).name})"


def _transformers(model: str) -> tuple[nn.Module, str]:
    return _published(f"transformers:{model}"), f"{Path(model).name} (transformers)"


def _timm(model: str) -> tuple[nn.Module, str]:
    return _published(f"timm:{model}"), f"{model} (timm)"


def _published(name: str, **options: Any) -> nn.Module:
    try:
        return OfFloats(load_encoder(name, **options))
    except StructureError as error:
        raise UserError(f"{error}.") from error


def _python(place: str) -> tuple[nn.Module, str]:
    module, _, function = place.rpartition(":")
    if not module:
        raise UserError(
            f"'python:{place}' names no function; expected python:MODULE:FUNCTION, such as python:mine:features."
        )
    try:
        made = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"'python:{place}' can't be used: {error}. Check its spelling, and that PYTHONPATH has it."
        ) from error
    if not isinstance(made, nn.Module):
        raise UserError(f"'python:{place}' returned a {type(made).__name__}; expected a torch.nn.Module.")
    return OfFloats(made), place


_KINDS: dict[str, Callable[[str], tuple[nn.Module, str]]] = {
    "inception": _inception,
    "dinov2": _dinov2,
    "transformers": _transformers,
    "timm": _timm,
    "python": _python,
}
FORMS = ("inception[:FILE]", "dinov2[:MODEL]", "transformers:MODEL", "timm:MODEL", "python:MODULE:FUNCTION")
"""What `open_extractor` understands."""
