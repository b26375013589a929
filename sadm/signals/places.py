"""A frozen encoder's features of clean images, at the places of a network's tokens."""

from __future__ import annotations

import torch
from torch import nn

from sadm.core.errors import UserError
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
            self.encoder(x0.to(next(self.encoder.parameters()).dtype))
        (features,) = recorded.values()
        return on_grid(features, self.grid(x0), (x0.shape[2], x0.shape[3]))


def expect_tokens(signal: str, tap: str, shape: torch.Size, grid: tuple[int, int]) -> None:
    """Checks that what a tap gives a signal are the tokens of a grid.

    Raises:
        UserError: they are not.
    """
    if len(shape) != 3 or shape[1] != grid[0] * grid[1]:
        raise UserError(
            f"signal '{signal}' needs tokens: expected [B, {grid[0] * grid[1]}, D] from '{tap}', got {list(shape)}. Tap a "
            "block, such as blocks.0."
        )
