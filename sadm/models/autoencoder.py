"""Images as latents of diffusers' `AutoencoderKL`, and back."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from sadm.core.errors import UserError
from sadm.core.files import read_object, sha256_of_file
from sadm.core.optional import import_optional

PIXELS_AT_ONCE = 2**18  # four images of 256x256; bounds the memory that a batch takes in here
IMAGES_AT_ONCE = 64


class Moments(NamedTuple):
    """The posterior of each latent, already scaled and shifted as the denoiser sees latents; cache these, draw anew each step.

    Attributes:
        mean: [B, c, h, w].
        std: [B, c, h, w], of independent Gaussians.
    """

    mean: torch.Tensor
    std: torch.Tensor


class LatentCodec:
    """Latents of an autoencoder, scaled and shifted as its config says: ``latent = (z - shift) * scale``.

    Scale is the config's scaling_factor (over latents_std, where it has one), shift its shift_factor (or latents_mean). The
    autoencoder is put into evaluation mode and is not trained.

    Args:
        autoencoder: an `AutoencoderKL`.

    Raises:
        UserError: a network without the config of one.
    """

    def __init__(self, autoencoder: nn.Module) -> None:
        config: Any = getattr(autoencoder, "config", None)
        if config is None or not hasattr(config, "scaling_factor") or not hasattr(config, "latent_channels"):
            raise UserError(
                f"a {type(autoencoder).__name__} has no scaling_factor and latent_channels in its config; expected an "
                "AutoencoderKL."
            )
        self.autoencoder: Any = autoencoder.eval().requires_grad_(False)
        self.channels = int(config.latent_channels)
        self.factor = 2 ** (len(config.block_out_channels) - 1)  # pixels along one side of a latent
        mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
        self.scale = config.scaling_factor / self._per_channel(1.0 if std is None else std)  # [1, c or 1, 1, 1]
        self.shift = self._per_channel((getattr(config, "shift_factor", None) or 0.0) if mean is None else mean)

    @classmethod
    def from_folder(cls, folder: str | Path) -> LatentCodec:
        """The codec of an autoencoder's folder, as diffusers saves it (the ``vae`` folder of a pipeline); nothing is downloaded.

        Raises:
            UserError: diffusers is not installed, or the folder holds no autoencoder that it can load whole.
        """
        diffusers = import_optional("diffusers", "diffusers", "an autoencoder")
        if not (Path(folder) / "config.json").is_file():
            raise UserError(
                f"{folder} holds no config.json; expected the folder of an AutoencoderKL, as diffusers saves it."
            )
        kind = read_object(Path(folder) / "config.json").get("_class_name", "AutoencoderKL")
        if kind != "AutoencoderKL":
            raise UserError(
                f"{folder} holds a {kind}; expected the folder of an AutoencoderKL, such as a pipeline's vae."
            )
        try:
            # Without accelerate the default, low_cpu_mem_usage=True, warns.
            model, read = diffusers.AutoencoderKL.from_pretrained(
                folder, local_files_only=True, low_cpu_mem_usage=False, output_loading_info=True
            )
        except Exception as error:  # of damaged files, diffusers and torch raise almost any type
            raise UserError(f"{folder} holds no AutoencoderKL that diffusers can load: {error}") from error
        wrong = {what: read.get(f"{what}_keys") for what in ("missing", "mismatched", "unexpected")}
        for what, found in wrong.items():
            if found:  # diffusers warns, and draws what is missing at random
                raise UserError(
                    f"the weights in {folder} are not those of its config.json: {len(found)} tensors are {what}, such as "
                    f"{sorted(map(str, found))[0]}. Copy the autoencoder again."
                )
        return cls(model)

    def latent_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """The shape (c, h, w) of the latent of one image (C, H, W).

        Raises:
            UserError: H or W is not divisible by the autoencoder's factor.
        """
        _, height, columns = shape
        if height % self.factor or columns % self.factor:
            raise UserError(
                f"this autoencoder makes one latent of {self.factor}x{self.factor} pixels; images of {height}x{columns} are not "
                f"divisible by {self.factor}. Choose another resolution."
            )
        return self.channels, height // self.factor, columns // self.factor

    def images_at_once(self, latent_shape: tuple[int, ...]) -> int:
        """How many images of this latent shape (c, h, w) to encode or decode at a time; depends on their size alone."""
        pixels = latent_shape[1] * latent_shape[2] * self.factor**2
        return max(1, min(IMAGES_AT_ONCE, PIXELS_AT_ONCE // pixels))

    @torch.no_grad()
    def encode_moments(self, x: torch.Tensor) -> Moments:
        """The posterior of each latent of images [B, C, H, W] in [-1, 1].

        Raises:
            UserError: other channels than the autoencoder's, or sides that it can't divide.
        """
        self.latent_shape((x.shape[1], x.shape[2], x.shape[3]))
        expected = self.autoencoder.config.in_channels
        if x.shape[1] != expected:
            raise UserError(f"this autoencoder expects images of {expected} channels, got {x.shape[1]}.")
        posterior = self.autoencoder.encode(x).latent_dist
        scale, shift = self.scale.to(posterior.mean), self.shift.to(posterior.mean)
        return Moments((posterior.mean - shift) * scale, posterior.std * scale)

    def sample(self, moments: Moments, generator: torch.Generator) -> torch.Tensor:
        """One draw of the latents [B, c, h, w]; `generator` lives on any device, and the draw depends on it alone."""
        noise = torch.randn(moments.mean.shape, generator=generator, device=generator.device, dtype=torch.float32)
        return moments.mean + moments.std * noise.to(moments.mean)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Images [B, C, H, W], about in [-1, 1], of latents [B, c, h, w]."""
        z = latents / self.scale.to(latents) + self.shift.to(latents)
        return self.autoencoder.decode(z).sample

    def _per_channel(self, value: Any) -> torch.Tensor:
        return torch.as_tensor(value, dtype=torch.float32).reshape(1, -1, 1, 1)


def autoencoder_hash(folder: str | Path) -> str:
    """Hexadecimal SHA-256 over what an autoencoder's folder says and weighs: its config.json and the files of its weights.

    Raises:
        UserError: a file can't be read.
    """
    root = Path(folder)
    files = [root / "config.json", *sorted(root.glob("diffusion_pytorch_model*"))]
    digest = hashlib.sha256()
    try:
        for file in files:
            digest.update(f"{file.name}:{sha256_of_file(file)}\n".encode())
    except OSError as error:
        raise UserError(f"cannot read the autoencoder in {folder}: {error}.") from error
    return digest.hexdigest()
