"""Experimental: structure of sampled batches against real ones, without pairs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.diffusion import Denoised, dpmpp_2m, karras_sigmas
from sadm.signals.embeddings import dtype_of, embedding_of
from sadm.signals.signal import SignalStep
from sadm.structure import StructureError, energy_distance, processes_here


class SampledSignal:
    """Adds ``weight * energy_distance`` between the embeddings of the batch's real images and of as many sampled ones.

    A paired gap can at best restore x0. Here a batch is drawn from noise in a few steps of DPM-Solver++(2M), with the batch's
    labels and augmentation, and compared as a set: no image has a partner (`energy_distance`). Its gradient runs back through all
    the solver's steps and goes to the network's weights directly, so each play costs several training steps: play rarely, late,
    and expect the samples' fine texture to follow the short sampler. In our trials it gained where sampling was poor, and nothing
    with a good solver.

    Logs ``sampled``, the distance; nothing while the signal rests.

    Args:
        encoder: from [B, C, H, W] to embeddings, as `embedding_of` takes them; it is frozen here.
        seed: of the noise.
        weight: factor on the distance, >= 0.
        steps: of the solver.
        start: first training step with the signal.
        every: play in every k-th step only.
        sigma_min: last noise level before 0.
        sigma_max: first noise level.

    Raises:
        UserError: a negative weight.
    """

    def __init__(
        self,
        encoder: nn.Module,
        seed: int,
        weight: float = 0.5,
        steps: int = 4,
        start: int = 0,
        every: int = 4,
        sigma_min: float = 0.1,
        sigma_max: float = 80.0,
    ) -> None:
        if not weight >= 0:
            raise UserError(f"signal 'sampled' needs a weight >= 0, got {weight}.")
        self.encoder, self.seed, self.weight = encoder.eval().requires_grad_(False), seed, weight
        self.start, self.every, self.sigmas = start, every, karras_sigmas(steps, sigma_min, sigma_max)
        self.step = 0
        self.denoiser: nn.Module | None = None

    def bind(self, denoiser: nn.Module) -> None:
        """Takes the denoiser in training, which this signal runs itself."""
        self.denoiser = denoiser

    def __call__(self, denoised: Denoised, g_dsm: torch.Tensor) -> SignalStep:
        if processes_here().count > 1:  # said at once, and not when half of the training is done
            raise UserError(
                "signal 'sampled' is experimental and works in one process only: it runs the network beside the training step. "
                "Use another --signal, or one process."
            )
        step, self.step = self.step, self.step + 1
        if step < self.start or step % self.every or not self.weight:
            return SignalStep(None, {})
        if self.denoiser is None:
            raise ValueError("this signal runs the network itself: bind(denoiser) first")
        noise = torch.randn(denoised.x0.shape, generator=generator(self.seed, "sampled", step)).to(denoised.x0)
        with torch.enable_grad():
            # Augmented like the real images, or samples would be pulled to what must not leak into them.
            cond = Cond(label=denoised.label, augment=denoised.cond.augment)
            samples = dpmpp_2m(self.denoiser, noise, self.sigmas, cond)
            try:
                with torch.autocast(noise.device.type, enabled=False):
                    distance = energy_distance(self._embed(denoised.x0), self._embed(samples))
            except StructureError as error:
                raise UserError(f"signal 'sampled' stopped at step {step}: {error}.") from error
        (self.weight * distance).backward()  # into the weights' gradients, to which the training step adds its own
        return SignalStep(None, {"sampled": distance.detach()})

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        return embedding_of(self.encoder(images.to(dtype_of(self.encoder))))

    def state_dict(self) -> dict[str, Any]:
        """The step and the encoder."""
        return {"step": self.step, "encoder": self.encoder.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.step = int(state["step"])
        self.encoder.load_state_dict(state["encoder"])
