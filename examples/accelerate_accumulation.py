"""Structure guidance under accelerate with accumulated gradients: an EDM denoiser. A minute on one core.

    pip install accelerate
    python examples/accelerate_accumulation.py --out runs/accumulated
    python examples/accelerate_accumulation.py --out runs/accumulated-plain --plain

The same command with more epochs goes on from where it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import tyro
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset

from digits_setup import Progress, digit_encoder, digits, no_game
from sadm.core.conditions import Cond
from sadm.diffusion import EDMDenoiser, LogNormalSigma, denoising_loss
from sadm.models import DiT
from sadm.structure import Schedule, StructureGame


def losses(
    denoiser: EDMDenoiser,
    game: Callable[..., torch.Tensor],
    x0: torch.Tensor,
    noise: torch.Tensor,
    sigma: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What to call backward on, and the loss to look at."""
    x_t = x0 + sigma.reshape(-1, 1, 1, 1) * noise  # [B, C, H, W]
    x0_hat = denoiser(x_t, sigma, Cond())  # [B, C, H, W]
    loss = denoising_loss(x0, x0_hat, denoiser.loss_weight(sigma))
    total = loss + game(loss, x0, x0_hat, sigma)
    return total, loss.detach()


class Epochs:
    """How many are done, in a form that accelerate saves and restores."""

    def __init__(self) -> None:
        self.done = 0

    def state_dict(self) -> dict[str, int]:
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.done = state["done"]


def main(
    out: Path,
    epochs: int = 20,
    batch: int = 32,
    accumulate: int = 2,
    plain: bool = False,
    ratio: float = 0.5,
    encoder_steps: int = 150,
) -> None:
    """Trains on digits and keeps the last state in OUT."""
    torch.manual_seed(0)
    accelerator = Accelerator(gradient_accumulation_steps=accumulate)
    stream, order = digits(batch), torch.Generator()
    loader = DataLoader(TensorDataset(stream.images.floats()), batch, shuffle=True, drop_last=True, generator=order)
    denoiser = EDMDenoiser(DiT((1, 8, 8), patch=2, width=64, depth=3, heads=4))
    optimiser = torch.optim.AdamW(denoiser.parameters(), lr=2e-3)
    denoiser, optimiser, loader = accelerator.prepare(denoiser, optimiser, loader)
    epochs_done, progress = Epochs(), Progress()
    accelerator.register_for_checkpointing(epochs_done)
    game: Callable[..., torch.Tensor] = no_game
    if not plain:
        encoder = digit_encoder(stream, encoder_steps, accelerator.device)
        game = StructureGame(encoder, ratio=ratio, schedule=Schedule(warmup=20 * accumulate, end=200 * accumulate))
        accelerator.register_for_checkpointing(game)

    if (out / "model.safetensors").exists():
        accelerator.load_state(str(out))
    for epoch in range(epochs_done.done, epochs):
        order.manual_seed(epoch)
        draws = torch.Generator().manual_seed(epoch)
        for number, (x0,) in enumerate(loader, start=1):
            sigma = LogNormalSigma(mean=-0.4, std=1.0).sample(len(x0), draws).to(x0.device)
            noise = torch.randn(x0.shape, generator=draws).to(x0.device)
            with accelerator.accumulate(denoiser):
                total, loss = losses(denoiser, game, x0, noise, sigma)
                accelerator.backward(total)
                optimiser.step()
                optimiser.zero_grad()
            progress(epoch * len(loader) + number, loss, game)
        epochs_done.done = epoch + 1
    accelerator.save_state(str(out))


if __name__ == "__main__":
    tyro.cli(main)
