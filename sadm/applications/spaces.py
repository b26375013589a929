"""Images in the space that a model works in: pixels, or the latents of its autoencoder."""

from __future__ import annotations

import torch

from sadm.core.errors import UserError
from sadm.training.model_folder import Model


class Space:
    """Takes images into a model's space and back; loads its autoencoder once.

    Args:
        model: of pixels or latents.

    Raises:
        UserError: a model of latents without an autoencoder.
    """

    def __init__(self, model: Model) -> None:
        self.model, self.codec = model, model.codec()

    @property
    def picture(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        if self.codec is None:
            return self.model.spec.shape
        _, height, width = self.model.spec.shape
        return int(self.codec.autoencoder.config.in_channels), height * self.codec.factor, width * self.codec.factor

    def into(self, images: torch.Tensor) -> torch.Tensor:
        """Images [N, C, H, W] in [-1, 1] as the network sees them, on the CPU; of latents the means."""
        if self.codec is None:
            return images
        at_once = self.codec.images_at_once(self.model.spec.shape)
        parts = images.to(self.model.device).split(at_once)
        return torch.cat([self.codec.encode_moments(part).mean.cpu() for part in parts])

    def out_of(self, z: torch.Tensor) -> torch.Tensor:
        """Images [N, C, H, W] in [-1, 1], on the CPU, of what the network has drawn."""
        if self.codec is None:
            return z
        parts = z.to(self.model.device).split(self.codec.images_at_once(self.model.spec.shape))
        return torch.cat([self.codec.decode(part).clamp(-1, 1).cpu() for part in parts])


def refuse_latents(model: Model, why: str) -> None:
    """Refuses a model of latents, without loading what would decode them.

    Raises:
        UserError: it is one; `why` says what can't be done in latents.
    """
    if model.draws_latents:
        raise UserError(
            f"this model draws latents, and {why}. Use a model of pixels, trained without --data.autoencoder."
        )
