"""Structure guidance in a diffusers loop: UNet2DModel, DDPMScheduler, prediction of the noise. A minute on one core.

    pip install diffusers
    python examples/diffusers_ddpm.py --out runs/ddpm
    python examples/diffusers_ddpm.py --out runs/ddpm-plain --plain

The same command with more steps goes on from where it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
import tyro
from diffusers import DDPMScheduler, UNet2DModel

from digits_setup import Checkpoint, Progress, digit_encoder, digits, no_game, small_unet
from sadm.structure import Schedule, StructureGame


def losses(
    net: UNet2DModel,
    scheduler: DDPMScheduler,
    game: Callable[..., torch.Tensor],
    x0: torch.Tensor,
    noise: torch.Tensor,
    t: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What to call backward on, and the loss to look at."""
    x_t = scheduler.add_noise(x0, noise, t)  # [B, C, H, W]
    eps_hat = net(x_t, t).sample  # [B, C, H, W]
    loss = F.mse_loss(eps_hat, noise)
    alpha_bar = scheduler.alphas_cumprod.to(x0.device)[t].reshape(-1, 1, 1, 1)
    alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    x0_hat = (x_t - sigma * eps_hat) / alpha
    total = loss + game(loss, x0, x0_hat, (sigma / alpha).flatten(), output=eps_hat)
    return total, loss.detach()


def main(
    out: Path, steps: int = 400, batch: int = 32, plain: bool = False, ratio: float = 0.5, encoder_steps: int = 150
) -> None:
    """Trains on digits and keeps the last state in OUT/last.pt."""
    torch.manual_seed(0)
    stream = digits(batch)
    net = small_unet()
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    game: Callable[..., torch.Tensor] = no_game
    if not plain:
        encoder = digit_encoder(stream, encoder_steps)
        game = StructureGame(encoder, ratio=ratio, schedule=Schedule(warmup=20, end=200))

    checkpoint, progress = Checkpoint(out / "last.pt", net=net, optimiser=optimiser, game=game), Progress()
    for step in range(checkpoint.load(), steps):
        draws = torch.Generator().manual_seed(step)
        x0 = stream.batch(step).x0  # [B, C, H, W] in [-1, 1]
        noise = torch.randn(x0.shape, generator=draws)
        t = torch.randint(scheduler.config.num_train_timesteps, (len(x0),), generator=draws)
        total, loss = losses(net, scheduler, game, x0, noise, t)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        progress(step + 1, loss, game)
    checkpoint.save(steps)


if __name__ == "__main__":
    tyro.cli(main)
