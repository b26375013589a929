"""A frozen encoder's features of clean images, at the places of a network's tokens."""

from __future__ import annotations

import torch
from torch import nn

from sadm.core.errors import UserError
from sadm.signals.embeddings import dtype_of
from sadm.signals.taps import Taps
from sadm.structure import EmbeddingCache, StructureError, on_grid


class FeaturesAtPlaces:
    """What a frozen encoder sees in clean images, averaged to a grid of tokens (repeated, where it is coarser).

    Each image is embedded once where its index is given (see `EmbeddingCache`).

    Args:
        encoder: takes [B, C, H, W]; it is frozen here.
        features: name of the encoder's module whose output is read: a map [B, d, H', W'], tokens [B, P, d] that run row by row
            over patches of the image, or vectors [B, d].
        patch: height and width of a token's patch; each batch of images has a grid of its own.

    Raises:
        UserError: no such module of the encoder.
    """

    def __init__(self, encoder: nn.Module, features: str, patch: tuple[int, int]) -> None:
        self.encoder, self.patch = encoder.eval().requires_grad_(False), patch
        self.recorder = Taps(encoder, [features])
        self.cache = EmbeddingCache(encoder)

    def grid(self, x0: torch.Tensor) -> tuple[int, int]:
        """Rows and columns of the T tokens of x0 [B, C, H, W]."""
        return x0.shape[2] // self.patch[0], x0.shape[3] // self.patch[1]

    @torch.no_grad()
    def __call__(self, x0: torch.Tensor, index: torch.Tensor | None = None) -> torch.Tensor:
        """Features [B, T, d] of x0 [B, C, H, W]; [B, d] where the encoder gives no places.

        Args:
            x0: clean images.
            index: of each in the training set [B]; None where pixels change from time to time, as with flips.

        Raises:
            UserError: an image that has changed since its features were kept.
        """
        try:
            (features,) = self.cache.through(index, x0, lambda images: (self._features(images),))
        except StructureError as error:
            raise UserError(f"features of the training images can't be used: {error}.") from error
        return features

    def _features(self, x0: torch.Tensor) -> torch.Tensor:
        with self.recorder.recording() as recorded:
            self.encoder(x0.to(dtype_of(self.encoder)))
        (features,) = recorded.values()
        return on_grid(features, self.grid(x0), (x0.shape[2], x0.shape[3]))


def tokens_of(signal: str, tap: str, activation: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """What a tap gives a signal as the tokens [B, T, D] of a grid; a map [B, D, rows, columns] is one of them row by row.

    Raises:
        UserError: it is neither.
    """
    rows, columns = grid
    if activation.ndim == 4 and activation.shape[2:] == grid:
        return activation.flatten(2).mT
    if activation.ndim == 3 and activation.shape[1] == rows * columns:
        return activation
    raise UserError(
        f"signal '{signal}' needs tokens or a map: expected [B, {rows * columns}, D] or [B, D, {rows}, {columns}] from '{tap}', "
        f"got {list(activation.shape)}. Tap a block: blocks.0 of a transformer, unet.mid_block of a UNet."
    )
