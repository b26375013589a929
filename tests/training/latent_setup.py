"""A tiny autoencoder in a folder, and images for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sadm.data import ImageSet
from sadm.data.cache import TensorStore
from sadm.training.encoding import encode_images
from sadm.training.latents import KIND, LatentSet
from sadm.training.moments import Layout


def tiny_autoencoder(folder: Path, seed: int = 0, channels: int = 1, **options: Any) -> str:
    """Saves an AutoencoderKL with random weights, two levels and four latent channels; posteriors are wide enough to show."""
    import diffusers

    torch.manual_seed(seed)
    config = {"scaling_factor": 0.7, "shift_factor": 0.2, **options}
    model = diffusers.AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 4),
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=4,
        mid_block_add_attention=False,
        **config,
    )
    with torch.no_grad():
        model.quant_conv.bias[4:] -= 1
    model.save_pretrained(folder)
    return str(folder)


def picture_set(count: int = 10, size: tuple[int, int] = (8, 12), channels: int = 1, seed: int = 1) -> ImageSet:
    """Random images [count, channels, *size] of two classes."""
    draws = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, channels, *size), dtype=torch.uint8, generator=draws)
    names = tuple(f"picture {index}" for index in range(count))
    return ImageSet(pixels, torch.arange(count) % 2, ("even", "odd"), names, "pictures")


def encoded(images: ImageSet, folder: Path, autoencoder: str, **layout: Any) -> LatentSet:
    """The latents of images, from a new cache."""
    encode_images(images, folder, autoencoder, Layout(**layout), workers=1)
    return LatentSet(TensorStore(folder, KIND), images, {})
