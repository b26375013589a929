"""A denoiser's hidden activations as features of images: noise is added to an image, and a block looks at it.

Source: Baranchuk et al. 2022 (arXiv 2112.03126) for pixels; Xiang et al. 2023 (arXiv 2303.09769) for whole images. Block and
noise level are chosen on images that are not tested.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.core.seeds import derive_seed, noise_per_image
from sadm.structure.encoders.features import DenoiserFeatures

SIGMAS = (0.05, 0.15, 0.4, 1.0)
"""Noise levels that are tried, beside pixels of a standard deviation of about one half."""
_MOST_BLOCKS = 4
_AT_A_TIME = 256


def blocks_of(denoiser: nn.Module) -> list[str]:
    """Names of up to four blocks: from a quarter of the depth to the last one, of a UNet from its middle to the last one.

    Raises:
        UserError: the network has no list of blocks.
    """
    modules = dict(denoiser.named_modules())
    for name, module in modules.items():
        prefix, _, last = name.rpartition(".")
        if isinstance(module, nn.ModuleList) and last == "blocks" and len(module):
            depth = len(module)
            places = {max(0, -(-depth * (i + 1) // _MOST_BLOCKS) - 1) for i in range(_MOST_BLOCKS)}
            return [f"{name}.{place}" for place in sorted(places)]
        middle = f"{prefix}.mid_block".lstrip(".")
        if isinstance(module, nn.ModuleList) and last == "up_blocks" and middle in modules:
            return [middle, *(f"{name}.{place}" for place in range(len(module)))][:_MOST_BLOCKS]
    raise UserError(
        f"a {type(denoiser).__name__} has no list of blocks whose activations could be read; name its modules."
    )


class Activations:
    """Features of images at several blocks and one noise level.

    Nothing is told of their classes.

    Args:
        denoiser: in evaluation mode.
        modules: whose outputs are read.
        encode: brings images [B, C, H, W] in [-1, 1] into what the denoiser works on, such as latents; None = they are it.
        device: where the denoiser is.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        modules: Sequence[str],
        encode: Callable[[torch.Tensor], torch.Tensor] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.denoiser, self.modules, self.encode, self.device = denoiser, list(modules), encode, device

    @torch.no_grad()
    def of(self, images: torch.Tensor, sigma: float, part: str) -> dict[str, np.ndarray]:
        """Features [N, d] of images [N, C, H, W], by module; their noise depends on `part` and place alone."""
        features = DenoiserFeatures(self.denoiser, self.modules, sigma, Cond())
        found: dict[str, list[torch.Tensor]] = {name: [] for name in self.modules}
        for start in range(0, len(images), _AT_A_TIME):
            batch = images[start : start + _AT_A_TIME].to(self.device)
            x0 = batch if self.encode is None else self.encode(batch)
            seeds = [derive_seed("representation", part, start + i) for i in range(len(batch))]
            noise = noise_per_image(seeds, x0.shape[1:]).to(x0)
            for name, values in zip(self.modules, features(x0 + sigma * noise), strict=True):
                found[name].append(values.double().cpu())
        return {name: torch.cat(parts).numpy() for name, parts in found.items()}
