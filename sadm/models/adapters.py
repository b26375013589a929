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
        patch: side p of the squares of pixels that become channels in front of it (see `squares_to_channels`) and pixels again
            behind it, so that it computes for 1/p^2 of the places. It then takes p^2 times the image's channels.

    Raises:
        UserError: its noise levels are embedded otherwise, or its classes are not indices.
    """

    def __init__(self, unet: nn.Module, time_scale: float = 1000.0, patch: int = 1) -> None:
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
        self.unet, self.time_scale, self.patch = unet, time_scale, patch
        self.null_label = None if config.num_class_embeds is None else config.num_class_embeds - 1

    @classmethod
    def build(
        cls,
        shape: tuple[int, int, int],
        num_classes: int = 0,
        time_scale: float = 1000.0,
        out_channels: int | None = None,
        patch: int = 1,
        **options: Any,
    ) -> UNetAdapter:
        """A new UNet for images of this shape.

        Args:
            shape: one image, (C, H, W).
            num_classes: without the null class; 0 = unconditional.
            time_scale: see the class.
            out_channels: None = as many as the image has.
            patch: see the class.
            options: further arguments of `UNet2DModel`, such as block_out_channels.

        Raises:
            UserError: diffusers is not installed, or H or W can't be cut into squares and halved at each level but the last.
        """
        diffusers = import_optional("diffusers", "diffusers", "a UNet2DModel")
        channels, height, columns = shape
        unet = diffusers.UNet2DModel(
            sample_size=(height // patch, columns // patch),
            in_channels=channels * patch**2,
            out_channels=(out_channels or channels) * patch**2,
            num_class_embeds=num_classes + 1 if num_classes else None,
            **options,
        )
        factor = patch * 2 ** (len(unet.config.block_out_channels) - 1)
        if height % factor or columns % factor:
            on, smaller = (
                (f" on squares of {patch}x{patch} pixels", ", smaller squares (patch)") if patch > 1 else ("", "")
            )
            raise UserError(
                f"a UNet of {len(unet.config.block_out_channels)} levels{on} needs images whose sides are divisible by {factor}; "
                f"got {height}x{columns}. Choose fewer block_out_channels{smaller} or another size of images."
            )
        return cls(unet, time_scale, patch)

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
        squares = squares_to_channels(x, self.patch)
        predicted = self.unet(squares, c_noise * self.time_scale, class_labels=label).sample  # [B, p p C', …]
        return channels_to_squares(predicted, self.patch)


def squares_to_channels(x: torch.Tensor, side: int) -> torch.Tensor:
    """Each square of pixels as channels of one place: [B, C, H, W] -> [B, p p C, H / p, W / p], by rows, columns, channels.

    As `torch.nn.functional.pixel_unshuffle`, but with the image's channels innermost, as in the last layer of a DiT.

    Args:
        x: images.
        side: p, of a square; 1 = as they are.
    """
    if side == 1:
        return x
    return x.unflatten(3, (-1, side)).unflatten(2, (-1, side)).permute(0, 3, 5, 1, 2, 4).flatten(1, 3)


def channels_to_squares(x: torch.Tensor, side: int) -> torch.Tensor:
    """What `squares_to_channels` makes a map of, from that map [B, p p C, h, w] -> [B, C, p h, p w]."""
    if side == 1:
        return x
    return x.unflatten(1, (side, side, -1)).permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)


def _refuse_augment(cond: Cond, network: str, remedy: str = "") -> None:
    if cond.augment is not None:
        raise UserError(
            f"{network} can't be told of augmentation (cond.augment), so it would draw augmented images. To train it, {remedy}"
            "turn augmentation off; mirror images that may be drawn are data.flip."
        )
