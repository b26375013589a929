"""Structure guidance in a flow-matching loop: straight paths, prediction of the velocity. A minute on one core.

    python examples/flow_matching.py --out runs/flow
    python examples/flow_matching.py --out runs/flow-plain --plain

The same command with more steps goes on from where it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
import tyro
from torch import nn

from digits_setup import Checkpoint, Progress, digit_encoder, digits, no_game
from sadm.core.conditions import Cond
from sadm.models import DiT
from sadm.structure import Schedule, StructureGame


def losses(
    net: nn.Module, game: Callable[..., torch.Tensor], x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What to call backward on, and the loss to look at; t [B] in [0, 1], 0 = data, 1 = noise."""
    time = t.reshape(-1, 1, 1, 1)
    x_t = (1 - time) * x0 + time * noise  # [B, C, H, W]
    v_hat = net(x_t, t, Cond())  # [B, C, H, W]
    loss = F.mse_loss(v_hat, noise - x0)
    x0_hat = x_t - time * v_hat
    total = loss + game(loss, x0, x0_hat, t / (1 - t), output=v_hat)
    return total, loss.detach()


def main(
    out: Path, steps: int = 500, batch: int = 64, plain: bool = False, ratio: float = 0.5, encoder_steps: int = 150
) -> None:
    """Trains on digits and keeps the last state in OUT/last.pt."""
    torch.manual_seed(0)
    stream = digits(batch)
    net = DiT((1, 8, 8), patch=2, width=64, depth=3, heads=4)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
    game: Callable[..., torch.Tensor] = no_game
    if not plain:
        encoder = digit_encoder(stream, encoder_steps)
        game = StructureGame(encoder, ratio=ratio, schedule=Schedule(warmup=20, end=250))

    checkpoint, progress = Checkpoint(out / "last.pt", net=net, optimiser=optimiser, game=game), Progress()
    for step in range(checkpoint.load(), steps):
        draws = torch.Generator().manual_seed(step)
        x0 = stream.batch(step).x0  # [B, C, H, W] in [-1, 1]
        noise, t = torch.randn(x0.shape, generator=draws), torch.rand(len(x0), generator=draws)
        total, loss = losses(net, game, x0, noise, t)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        progress(step + 1, loss, game)
    checkpoint.save(steps)


if __name__ == "__main__":
    tyro.cli(main)
