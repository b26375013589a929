"""What the game adds to a step of DiT-XL/2 on 32x32x4 latents, counted by torch's FLOP counter."""

from __future__ import annotations

from typing import Any

BATCH = 12


def flop_overhead() -> dict[str, Any]:
    """Floating-point operations of a training step and of the game in it, with the default settings.

    Returns:
        Operations an image, and the game's share: in a step that plays, and over a training with the default's end.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from sadm.diffusion import Cond
    from sadm.models import DiT
    from sadm.structure import StructureGame
    from sadm.training.config import load_train_config
    from sadm.training.pretraining import build_encoder

    settings = load_train_config().structure
    with torch.device("meta"):
        net = DiT((4, 32, 32), patch=2, width=1152, depth=28, heads=16, num_classes=1000)
        x, level, label = torch.empty(1, 4, 32, 32), torch.empty(1), torch.zeros(1, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        net(x, level, Cond(label=label)).sum().backward()
    step = counter.get_total_flops()
    encoder, _ = build_encoder((4, 32, 32), settings)
    game = StructureGame(encoder, watchdog=None, fraction=settings.fraction, adversary=settings.adversary)
    draws = torch.Generator().manual_seed(0)
    x0, x0_hat, g_dsm = (torch.randn(BATCH, 4, 32, 32, generator=draws) for _ in range(3))
    with FlopCounterMode(display=False) as counter:
        game.play(x0, x0_hat, torch.rand(BATCH, generator=draws) + 0.1, g_dsm)
    played = counter.get_total_flops() / BATCH
    return {
        "dit_xl2_step_flops_per_image": step,
        "game_flops_per_image": played,
        "overhead_while_playing": played / step,
        "overhead": played / step * settings.end / settings.every,
    }
