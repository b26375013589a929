"""Sizes of a network, whichever kind it is. Imports no torch, so that the command line answers at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from sadm.core.config import Config, Count, Positive, PositiveFloat, merge
from sadm.core.dit_sizes import DIT_NAMES, DiTName, sizes_of

NetKind = Literal["dit", "unet"]


class UNetConfig(Config):
    """Sizes of diffusers' UNet2DModel (--net.kind unet); docs/networks.md."""

    patch: Positive = 1
    """Side of the squares of pixels that become channels in front of the network, and pixels again behind it; 1 = none."""
    channels: tuple[Positive, ...] = (32, 64)
    """Channels of each level, from the resolution that the network sees down; each level but the last halves the sides."""
    layers: Positive = 2
    """Residual blocks of a level on the way down; on the way up it has one more."""
    attention: tuple[Count, ...] | None = None
    """Levels that attend, 0 = the first; None = the last, nothing given = no level."""
    middle_attention: bool = True
    """Attend in the middle, too, between the way down and the way up."""
    head_width: Positive | None = None
    """Channels of an attention head; None = one head a layer."""
    groups: Positive = 8
    """Groups of the group norms; must divide the channels of each level."""
    scale_shift: bool = False
    """Noise level and class scale and shift what is normalised (2102.09672), rather than being added to it."""
    downsample_padding: Literal[0, 1] = 1
    """Where images are halved: pad all around (1), or right and below only (0), as the published DDPM networks do."""
    cosine_first: bool = True
    """Noise levels are embedded as cosines, then sines; published DDPM networks have it the other way round."""

    @model_validator(mode="after")
    def _fits(self) -> UNetConfig:
        levels = len(self.channels)
        if not levels:
            raise ValueError("net.unet.channels needs the channels of at least one level, got none")
        if self.channels[0] % 2:  # noise levels are embedded as so many sines and cosines
            raise ValueError(f"the first of net.unet.channels must be even, got {self.channels[0]}")
        odd = [channels for channels in self.channels if channels % self.groups]
        if odd:
            raise ValueError(
                f"net.unet.groups ({self.groups}) must divide the channels of each level (net.unet.channels), got {odd[0]}"
            )
        unknown = [level for level in self.attention or () if level >= levels]
        if unknown:
            raise ValueError(
                f"net.unet.attention names level {unknown[0]}; with {levels} net.unet.channels there are 0 to {levels - 1}"
            )
        attending = {self.channels[level] for level in self.levels_with_attention}
        attending |= {self.channels[-1]} if self.middle_attention else set()
        uneven = sorted(channels for channels in attending if channels % (self.head_width or 1))
        if uneven:
            raise ValueError(
                f"net.unet.head_width ({self.head_width}) must divide the channels where attention is, got {uneven[0]}"
            )
        return self

    @property
    def levels_with_attention(self) -> tuple[int, ...]:
        """Which levels attend."""
        return (len(self.channels) - 1,) if self.attention is None else self.attention


class NetConfig(Config):
    """The network: a diffusion transformer, or a UNet with the sizes under net.unet."""

    kind: NetKind = "dit"
    """dit = diffusion transformer, by the options here; unet = diffusers' UNet2DModel, by those of net.unet."""
    named: DiTName | None = None
    """A published size, such as DiT-S/2, in place of patch, width, depth and heads (2212.09748, table 1)."""
    patch: Positive = 2
    """Side of a patch in pixels; must divide the image's height and width."""
    width: Positive = 64
    """Channels of a token."""
    depth: Positive = 4
    """Number of blocks."""
    heads: Positive = 4
    """Attention heads; must divide the width."""
    mlp_ratio: PositiveFloat = 4.0
    """Hidden width of the MLP over the width."""
    qk_norm: bool = False
    """Normalise queries and keys of the attention (2302.05442)."""
    rope: bool = False
    """Rotary positions by row and column (2104.09864) instead of added ones; width / heads must be divisible by 4."""
    swiglu: bool = False
    """Gated MLPs with as many parameters (2002.05202)."""
    registers: Count = 0
    """Learned tokens beside the patches (2309.16588); 0 = none."""
    patch_bottleneck: Count = 0
    """Channels that a patch is projected to before it becomes a token, for large patches (JiT, 2511.13720); 0 = none."""
    noise_scale: PositiveFloat | None = None
    """Factor on the noise level that the network is given; None = 1 for timesteps, 1000 for the other processes."""
    frequency_shift: Literal[0, 1] = 0
    """Embed noise levels at the frequencies of the published DiT (0), or of diffusers' DiT and the published DDPM (1)."""
    norm_eps: PositiveFloat = 1e-6
    """Epsilon of the norm in front of each MLP (1e-5 in many of diffusers' networks); of all group norms of a UNet."""
    unet: UNetConfig = UNetConfig()

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, values: Any) -> Any:
        named = values.get("named") if isinstance(values, Mapping) else None
        if named not in DIT_NAMES:
            return values
        sizes = sizes_of(named)
        for key, size in sizes.items():
            if values.get(key, size) != size:
                raise ValueError(
                    f"net.named {named} has a net.{key} of {size}, got {values[key]}. Leave one of the two out, or say "
                    "net.named None"
                )
        return {**sizes, **values}

    @model_validator(mode="after")
    def _fits(self) -> NetConfig:
        if self.width % self.heads or self.width % 4:
            raise ValueError(f"net.width must be divisible by 4 and by net.heads ({self.heads}), got {self.width}")
        if self.rope and self.width // self.heads % 4:
            raise ValueError(
                f"net.rope needs a width of heads (net.width / net.heads) that 4 divides, got {self.width} / {self.heads} = "
                f"{self.width // self.heads}"
            )
        return self

    @model_validator(mode="after")
    def _of_one_kind(self) -> NetConfig:
        for kind, names in {"dit": ("named", *DIT_ALONE), "unet": ("unet",)}.items():
            changed = [name for name in names if getattr(self, name) != type(self).model_fields[name].default]
            if changed and kind != self.kind:
                raise ValueError(
                    f"{_as_typed(self, changed[0])} has a meaning for net.kind '{kind}' alone, got '{self.kind}'"
                )
        return self

    @property
    def without_name(self) -> NetConfig:
        """The same sizes, whether a name or numbers gave them."""
        return self.model_copy(update={"named": None})

    @property
    def divisor(self) -> int:
        """What must divide an image's height and width."""
        return self.patch if self.kind == "dit" else self.unet.patch * 2 ** (len(self.unet.channels) - 1)

    @property
    def division(self) -> str:
        """What is done to an image with sides that `divisor` divides; follows "can't"."""
        if self.kind == "dit":
            return f"be cut into patches of {self.patch}x{self.patch}"
        levels, patch = len(self.unet.channels), self.unet.patch
        halved = f"be halved {levels - 1} times, as a UNet of {levels} levels does"
        return halved if patch == 1 else f"be cut into squares of {patch}x{patch} and then {halved}"

    @property
    def divided_by(self) -> str:
        """The option that decides about `divisor`."""
        if self.kind == "dit":
            return "net.patch"
        return "net.unet.channels" if self.unet.patch == 1 else "net.unet.patch"


DIT_ALONE = (
    "patch",
    "width",
    "depth",
    "heads",
    "mlp_ratio",
    "qk_norm",
    "rope",
    "swiglu",
    "registers",
    "patch_bottleneck",
)
"""Options of `NetConfig` that a UNet does not have."""


def merge_training(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Nested union of two training configurations; `override` wins.

    Where it asks for another kind of network, the sizes of the one in `base` go, since they mean nothing to it. A published
    size that it names takes the place of their numbers, and its own numbers that of a name.
    """
    nets = [values.get("net") for values in (base, override)]
    kinds = [net.get("kind") if isinstance(net, Mapping) else None for net in nets]
    if kinds[1] is not None and kinds[1] != (kinds[0] or NetConfig().kind):
        base = {key: value for key, value in base.items() if key != "net"}
    before, given = (net if isinstance(net, Mapping) else {} for net in nets)
    if given.get("named") in DIT_NAMES:
        base = merge(base, {"net": sizes_of(given["named"])})
    elif before.get("named") in DIT_NAMES and sizes_of(before["named"]).keys() & given:
        base = merge(base, {"net": {"named": None}})
    return merge(base, override)


def _as_typed(net: NetConfig, name: str) -> str:
    if name != "unet":
        return f"net.{name}"
    own = type(net.unet).model_fields
    return f"net.unet.{next(part for part in own if getattr(net.unet, part) != own[part].default)}"
