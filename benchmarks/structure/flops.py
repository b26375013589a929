"""What structure guidance adds to a step of DiT-XL/2 on 32x32x4 latents, counted by torch's FLOP counter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

BATCH, WIDTH, TOKENS = 12, 1152, 256


def flop_overhead() -> dict[str, Any]:
    """Floating-point operations of a training step, and of the game and of the hidden signal in it, with default settings.

    Returns:
        Operations an image, and each arm's share: in a step in which it takes part, and over a training with the default's end.
    """
    import torch

    from sadm.diffusion import Cond
    from sadm.models import DiT
    from sadm.structure import HiddenStructure, StructureGame
    from sadm.training.config import load_train_config
    from sadm.training.pretraining import build_encoder

    settings = load_train_config().structure
    with torch.device("meta"):
        net = DiT((4, 32, 32), patch=2, width=WIDTH, depth=28, heads=16, num_classes=1000)
        x, level, label = torch.empty(1, 4, 32, 32), torch.empty(1), torch.zeros(1, dtype=torch.long)
    step = counted(lambda: net(x, level, Cond(label=label)).sum().backward())
    draws = torch.Generator().manual_seed(0)
    x0, x0_hat, g_dsm = (torch.randn(BATCH, 4, 32, 32, generator=draws) for _ in range(3))
    sigma = torch.rand(BATCH, generator=draws) + 0.1
    (encoder, _), (frozen, _) = (build_encoder((4, 32, 32), settings) for _ in range(2))
    game = StructureGame(encoder, watchdog=None, fraction=settings.fraction, adversary=settings.adversary)
    tap = torch.nn.Identity()
    hidden = HiddenStructure(frozen.trunk, tap)
    tap(torch.randn(BATCH, TOKENS, WIDTH, generator=draws, requires_grad=True))
    flops = {
        "sadm": counted(lambda: game.play(x0, x0_hat, sigma, g_dsm)) / BATCH,
        "hidden": counted(lambda: hidden(x0).backward()) / BATCH,
    }
    share = settings.end / settings.every
    arms = {
        arm: {"flops_per_image": own, "overhead_while_playing": own / step, "overhead": own / step * share}
        for arm, own in flops.items()
    }
    return {"dit_xl2_step_flops_per_image": step, "arms": arms}


def counted(work: Callable[[], Any]) -> int:
    """Floating-point operations of some work."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()
