"""What structure guidance adds to a training step, by size of the network, counted by torch's FLOP counter."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, cast

BATCH = 12


@dataclasses.dataclass(frozen=True)
class Network:
    """A DiT and its images.

    Attributes:
        name: as the page calls it.
        shape: of one image, (C, H, W).
        patch: side of a patch.
        width: channels of a token.
        depth: blocks.
        heads: of attention.
        classes: of labels.
    """

    name: str
    shape: tuple[int, int, int]
    patch: int
    width: int
    depth: int
    heads: int
    classes: int = 10

    @property
    def tokens(self) -> int:
        """Patches of an image."""
        return self.shape[1] // self.patch * (self.shape[2] // self.patch)


SMALL = {"0.3 M": (64, 4), "1 M": (96, 6), "3 M": (160, 6), "10 M": (256, 8)}
NETWORKS = (
    *(
        Network(f"DiT of {size}", (1, 28, 28), patch, width, depth, 4)
        for patch in (4, 2)
        for size, (width, depth) in SMALL.items()
    ),
    Network("DiT-XL/2 on 32x32x4 latents", (4, 32, 32), 2, 1152, 28, 16, 1000),
)


def flop_overhead() -> dict[str, Any]:
    """By network, the operations of a step, and what the game and the hidden signal add with default settings."""
    return {"networks": [overhead_of(network) for network in NETWORKS]}


def overhead_of(network: Network) -> dict[str, Any]:
    """Operations an image of a training step, and each arm's share of them in a step in which it takes part."""
    import torch

    from sadm.diffusion import Cond
    from sadm.models import DiT
    from sadm.structure import HiddenStructure, StructureGame
    from sadm.training.config import load_train_config
    from sadm.training.pretraining import build_encoder

    settings = load_train_config().structure
    with torch.device("meta"):
        net = DiT(
            network.shape, network.patch, network.width, network.depth, network.heads, num_classes=network.classes
        )
        x, level, label = torch.empty(1, *network.shape), torch.empty(1), torch.zeros(1, dtype=torch.long)
    step = counted(lambda: net(x, level, Cond(label=label)).sum().backward())
    draws = torch.Generator().manual_seed(0)
    x0, x0_hat, g_dsm = (torch.randn(BATCH, *network.shape, generator=draws) for _ in range(3))
    sigma = torch.rand(BATCH, generator=draws) + 0.1
    (encoder, _), (frozen, _) = (build_encoder(network.shape, settings) for _ in range(2))
    game = StructureGame(encoder, watchdog=None, fraction=settings.fraction, adversary=settings.adversary)
    tap = torch.nn.Identity()
    hidden = HiddenStructure(cast(torch.nn.Module, frozen.trunk), tap)
    tapped = tap(torch.randn(BATCH, network.tokens, network.width, generator=draws, requires_grad=True))
    output = tapped @ torch.randn(network.width, network.patch**2 * network.shape[0], generator=draws)
    loss = output.square().mean()  # for the bound, a gradient goes through the output layer once more
    flops = {
        "sadm": counted(lambda: game.play(x0, x0_hat, sigma, g_dsm)) / BATCH,
        "hidden": counted(lambda: hidden(x0, loss).backward()) / BATCH,
    }
    return {
        "network": network.name,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "tokens": network.tokens,
        "step_flops_per_image": step,
        "overhead": {arm: own / step for arm, own in flops.items()},
    }


def counted(work: Callable[[], Any]) -> int:
    """Floating-point operations of some work."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()
