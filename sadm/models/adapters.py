"""Networks of other signatures, called as ours: ``net(x [B, C, H, W], c_noise [B], cond) -> [B, C', H, W]``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.core.optional import import_optional


class ModuleAdapter(nn.Module):
    """Any module, by a function that calls it.

    The module's own parts keep their names behind ``module.``, by which signals tap them.

    Args:
        module: the network.
        call: ``call(module, x, c_noise, cond)``, returning [B, C', H, W]; such as
            ``lambda module, x, c_noise, cond: module(x, 1000 * c_noise, y=cond.label)``.
        null_label: the label that means "no class"; None = the network has none.
        takes_augment: whether `call` passes `cond.augment` on; without, augmented images are refused, since the network would
            draw them.
    """

    def __init__(
        self,
        module: nn.Module,
        call: Callable[[nn.Module, torch.Tensor, torch.Tensor, Cond], torch.Tensor],
        null_label: int | None = None,
        takes_augment: bool = False,
    ) -> None:
        super().__init__()
        self.module, self.call, self.null_label, self.takes_augment = module, call, null_label, takes_augment

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor, cond: Cond) -> torch.Tensor:
        if not self.takes_augment:
            _refuse_augment(cond, "this network", "pass cond.augment on in `call` and say takes_augment=True, or ")
        return self.call(self.module, x, c_noise, cond)


class UNetAdapter(nn.Module):
    """diffusers' `UNet2DModel`, with classes (`num_class_embeds`, whose last row is the null class) or without.

    Its own parts keep their names behind ``unet.``, by which signals tap them (``unet.mid_block``).

    Args:
        unet: a `UNet2DModel` with positional noise levels.
        time_scale: factor between c_noise and the network's timestep: 1 where c_noise is the timestep, 1000 where it is of
            order one, as EDM's. The embedding's fastest period is 2 pi.

    Raises:
        UserError: its noise levels are embedded otherwise, or its classes are not indices.
    """

    def __init__(self, unet: nn.Module, time_scale: float = 1000.0) -> None:
        super().__init__()
        config: Any = unet.config
        if config.time_embedding_type != "positional":
            raise UserError(
                f"this UNet embeds noise levels by time_embedding_type={config.time_embedding_type!r}, which ties it to a "
                "process of its own; expected 'positional'."
            )
        if config.class_embed_type is not None:
            raise UserError(
                f"this UNet takes classes as class_embed_type={config.class_embed_type!r}; expected None, with "
                "num_class_embeds, or no classes."
            )
        self.unet, self.time_scale = unet, time_scale
        self.null_label = None if config.num_class_embeds is None else config.num_class_embeds - 1

    @classmethod
    def build(
        cls,
        shape: tuple[int, int, int],
        num_classes: int = 0,
        time_scale: float = 1000.0,
        out_channels: int | None = None,
        **options: Any,
    ) -> UNetAdapter:
        """A new UNet for images of this shape.

        Args:
            shape: one image, (C, H, W).
            num_classes: without the null class; 0 = unconditional.
            time_scale: see the class.
            out_channels: None = as many as the image has.
            options: further arguments of `UNet2DModel`, such as block_out_channels.

        Raises:
            UserError: diffusers is not installed, or H or W can't be halved at each level but the last.
        """
        diffusers = import_optional("diffusers", "diffusers", "a UNet2DModel")
        channels, height, columns = shape
        unet = diffusers.UNet2DModel(
            sample_size=(height, columns),
            in_channels=channels,
            out_channels=out_channels or channels,
            num_class_embeds=num_classes + 1 if num_classes else None,
            **options,
        )
        factor = 2 ** (len(unet.config.block_out_channels) - 1)
        if height % factor or columns % factor:
            raise UserError(
                f"a UNet of {len(unet.config.block_out_channels)} levels needs images whose sides are divisible by {factor}; got "
                f"{height}x{columns}. Choose fewer block_out_channels or another size of images."
            )
        return cls(unet, time_scale)

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor, cond: Cond) -> torch.Tensor:
        _refuse_augment(cond, "diffusers' UNet2DModel")
        label = None
        if self.null_label is not None:
            # No label is the null class for all.
            label = (
                cond.label
                if cond.label is not None
                else c_noise.new_full((x.shape[0],), self.null_label, dtype=torch.int64)
            )
        return self.unet(x, c_noise * self.time_scale, class_labels=label).sample  # [B, C, H, W]


def _refuse_augment(cond: Cond, network: str, remedy: str = "") -> None:
    if cond.augment is not None:
        raise UserError(
            f"{network} can't be told of augmentation (cond.augment), so it would draw augmented images. To train it, {remedy}"
            "turn augmentation off; mirror images that may be drawn are data.flip."
        )
