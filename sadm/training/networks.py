"""From a network's sizes to the network, and to the module that signals tap, by kind: `NETWORKS`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import nn

from sadm.core.errors import UserError
from sadm.models import DiT, UNetAdapter
from sadm.models.weights.naming import set_norm_eps
from sadm.training.net_config import DIT_ALONE, NetConfig


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What fixes a network beside its sizes.

    Attributes:
        shape: one image, (C, H, W).
        num_classes: without the null class; 0 = unconditional.
        noise_scale: factor on c_noise.
        learned_variance: twice as many output channels.
        augment_dims: columns of `Cond.augment` that it is told of.
        attribute_dims: columns of `Cond.attributes` that it is told of.
        picture_channels: channels of `Cond.image` that it is told of.
        any_shape: it takes images of several shapes.
    """

    shape: tuple[int, int, int]
    num_classes: int
    noise_scale: float
    learned_variance: bool = False
    augment_dims: int = 0
    attribute_dims: int = 0
    picture_channels: int = 0
    any_shape: bool = False

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.shape[0] * (2 if self.learned_variance else 1)


@dataclasses.dataclass(frozen=True)
class Network:
    """A kind of network.

    Attributes:
        build: makes it, with fresh weights.
        tap: name of the module that signals tap unless told otherwise; the second argument is whether they want the end of the
            network rather than its middle.
    """

    build: Callable[[NetConfig, Surroundings], nn.Module]
    tap: Callable[[NetConfig, bool], str]


def build_network(sizes: NetConfig, around: Surroundings) -> nn.Module:
    """A network with freshly initialised weights.

    Raises:
        UserError: the image's sides do not fit, or the network can't be told of augmentation.
    """
    _, height, width = around.shape
    if height % sizes.divisor or width % sizes.divisor:
        raise UserError(
            f"images of {height}x{width} pixels can't {sizes.division}. Choose another --{sizes.divided_by}, or a "
            f"--data.resolution that {sizes.divisor} divides."
        )
    return NETWORKS[sizes.kind].build(sizes, around)


def default_tap(sizes: NetConfig, at_the_end: bool) -> str:
    """Name of the module that signals tap unless told otherwise."""
    return NETWORKS[sizes.kind].tap(sizes, at_the_end)


def _dit(sizes: NetConfig, around: Surroundings) -> DiT:
    net = DiT(
        around.shape,
        num_classes=around.num_classes,
        noise_scale=around.noise_scale,
        out_channels=around.out_channels,
        augment_dims=around.augment_dims,
        attribute_dims=around.attribute_dims,
        picture_channels=around.picture_channels,
        any_shape=around.any_shape,
        frequency_shift=sizes.frequency_shift,
        **{name: getattr(sizes, name) for name in DIT_ALONE},
    )
    set_norm_eps(net, sizes.norm_eps)
    return net


def _dit_tap(sizes: NetConfig, at_the_end: bool) -> str:
    last = sizes.depth - 1
    return f"blocks.{last if at_the_end else last // 2}"


def _unet(sizes: NetConfig, around: Surroundings) -> UNetAdapter:
    if around.augment_dims:
        raise UserError("diffusers' UNet2DModel can't be told of augmentation. Use --net.kind dit, or turn it off.")
    if around.attribute_dims or around.picture_channels:
        raise UserError(
            "diffusers' UNet2DModel can't be told of attributes or masks. Use --net.kind dit, or leave --data.tell out."
        )
    own = sizes.unet
    attends = [level in own.levels_with_attention for level in range(len(own.channels))]
    net = UNetAdapter.build(
        around.shape,
        around.num_classes,
        around.noise_scale,
        out_channels=around.out_channels,
        patch=own.patch,
        block_out_channels=own.channels,
        layers_per_block=own.layers,
        down_block_types=tuple("AttnDownBlock2D" if attend else "DownBlock2D" for attend in attends),
        up_block_types=tuple("AttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)),
        add_attention=own.middle_attention,
        attention_head_dim=own.head_width,
        norm_num_groups=own.groups,
        norm_eps=sizes.norm_eps,
        resnet_time_scale_shift="scale_shift" if own.scale_shift else "default",
        downsample_padding=own.downsample_padding,
        flip_sin_to_cos=own.cosine_first,
        freq_shift=sizes.frequency_shift,
    )
    # As in DDPM (2006.11239) and in our DiT: the first output is zero, so that training starts from a known loss.
    for parameter in net.unet.conv_out.parameters():  # type: ignore[union-attr]
        nn.init.zeros_(parameter)
    return net


def _unet_tap(sizes: NetConfig, at_the_end: bool) -> str:
    return "unet.mid_block"


NETWORKS: dict[str, Network] = {"dit": Network(_dit, _dit_tap), "unet": Network(_unet, _unet_tap)}
