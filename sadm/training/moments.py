"""What is kept of each image in a cache of latents, and how a shard of it is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import torch
from safetensors.torch import save

from sadm.core.errors import UserError
from sadm.data import image_keys, to_floats
from sadm.data.cache import TensorKind
from sadm.models import LatentCodec

Dtype = Literal["float16", "float32"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """What is kept of each image.

    ``mean`` and ``std`` [c, h, w] are those of `Moments`, scaled and shifted as the denoiser sees latents, not the logarithm of a
    variance: its rounding in 16 bits would be that of an exponent. ``mean_mirrored`` and ``std_mirrored`` are the mirror image's;
    no mirror image of a latent is one. ``key`` tells which image it was (see `image_keys`); ``powers`` are the means, over the
    latent's numbers, of them and of their squares, draws included.

    Attributes:
        flip: keep the mirror image's moments, too.
        dtype: of the moments.
    """

    flip: bool = False
    dtype: Dtype = "float16"

    def tensors(self, latent_shape: tuple[int, int, int]) -> dict[str, TensorKind]:
        """The tensors of a cache whose latents have this shape."""
        moments = [f"{part}{which}" for which in ("", "_mirrored")[: 1 + self.flip] for part in ("mean", "std")]
        return {
            **{name: TensorKind(dtype=self.dtype, shape=latent_shape) for name in moments},
            "key": TensorKind(dtype="int64", shape=()),
            "powers": TensorKind(dtype="float64", shape=(2,)),
        }


def encode_shard(
    codec: LatentCodec,
    images: torch.Tensor,
    layout: Layout,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] = lambda images: None,
) -> bytes:
    """The content of a shard.

    Args:
        codec: on `device`.
        images: of the shard [N, C, H, W], uint8.
        layout: what is kept of them.
        device: where to encode.
        progress: called with the number of images of each batch.

    Raises:
        UserError: images that the autoencoder can't take, or moments that can't be stored.
    """
    kept: dict[str, list[torch.Tensor]] = {}
    size = codec.images_at_once(codec.latent_shape((images.shape[1], images.shape[2], images.shape[3])))
    for batch in images.split(size):
        x = to_floats(batch).to(device)
        mean, std = (part.float().cpu() for part in codec.encode_moments(x))
        parts = {"mean": mean, "std": std, "key": image_keys(batch), "powers": _powers(mean, std)}
        if layout.flip:
            mirrored = codec.encode_moments(x.flip(-1))
            parts.update(mean_mirrored=mirrored.mean.float().cpu(), std_mirrored=mirrored.std.float().cpu())
        for name, part in parts.items():
            kept.setdefault(name, []).append(_storable(part, layout.dtype) if part.ndim == 4 else part)
        progress(len(batch))
    return save({name: torch.cat(parts).contiguous() for name, parts in kept.items()})


def _powers(mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    mean, std = mean.double().flatten(1), std.double().flatten(1)
    return torch.stack([mean.mean(1), (mean**2 + std**2).mean(1)], dim=1)  # [B, 2]


def _storable(part: torch.Tensor, dtype: Dtype) -> torch.Tensor:
    stored = part.to(getattr(torch, dtype))
    if not bool(torch.isfinite(stored).all()):
        found = "numbers beyond float16" if bool(torch.isfinite(part).all()) else "NaN or infinite numbers"
        raise UserError(
            f"the autoencoder gives {found} for some images; latents are usually between -10 and 10. Check its weights and its "
            "scaling_factor" + (", or keep latents as float32." if found.startswith("numbers") else ".")
        )
    return stored
