"""Structure guidance in a hidden layer of a diffusers UNet2DModel: one line, and nobody plays. A minute on one core.

    pip install diffusers
    python examples/hidden_layer.py --out runs/hidden
    python examples/hidden_layer.py --out runs/hidden-plain --plain

The same command with more steps goes on from where it ended.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
import tyro
from diffusers import DDPMScheduler

from digits_setup import Checkpoint, Progress, digit_encoder, digits, small_unet
from sadm.structure import HiddenStructure, Schedule


def main(
    out: Path, steps: int = 400, batch: int = 32, plain: bool = False, weight: float = 1.0, encoder_steps: int = 150
) -> None:
    """Trains on digits and keeps the last state in OUT/last.pt."""
    torch.manual_seed(0)
    stream = digits(batch)
    net = small_unet()
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    hidden = None
    if not plain:
        encoder = digit_encoder(stream, encoder_steps)
        hidden = HiddenStructure(encoder.trunk, net.mid_block, weight=weight, schedule=Schedule(warmup=20, end=200))

    checkpoint, progress = Checkpoint(out / "last.pt", net=net, optimiser=optimiser, game=hidden), Progress()
    for step in range(checkpoint.load(), steps):
        draws = torch.Generator().manual_seed(step)
        x0 = stream.batch(step).x0  # [B, C, H, W] in [-1, 1]
        noise = torch.randn(x0.shape, generator=draws)
        t = torch.randint(1000, (len(x0),), generator=draws)
        eps_hat = net(scheduler.add_noise(x0, noise, t), t).sample
        loss = total = F.mse_loss(eps_hat, noise)
        if hidden is not None:
            total = loss + hidden(x0, loss)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        progress(step + 1, loss.detach(), hidden)
    checkpoint.save(steps)


if __name__ == "__main__":
    tyro.cli(main)
