"""A small network that marks defects, with a fixed budget: whatever it is given, it makes the same number of steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from sadm.core.devices import one_thread
from sadm.core.seeds import derive_seed, generator
from sadm.data import to_floats
from sadm.evaluation.memorisation.copies import turn

_AT_A_TIME = 256


@dataclasses.dataclass(frozen=True)
class DetectorSettings:
    """How detectors are trained.

    Attributes:
        steps: of the optimiser; there is no early stopping, whose choice could be gamed.
        batch: images a step; every second one is good.
        learning_rate: of AdamW; falls in a straight line to 0.
        width: channels at full resolution.
        turn: turn and mirror images at random, which suits things seen from above.
    """

    steps: int = 400
    batch: int = 32
    learning_rate: float = 3e-3
    width: int = 8
    turn: bool = True


class Detector(nn.Module):
    """A U-Net (Ronneberger et al. 2015, arXiv 1505.04597) of three levels: images [B, C, H, W] to logits [B, 1, H, W].

    Args:
        channels: of the images.
        width: channels at full resolution; each level down has twice as many.
    """

    def __init__(self, channels: int, width: int = 8) -> None:
        super().__init__()
        self.first, self.second, self.third = (
            _block(channels, width),
            _block(width, 2 * width, stride=2),
            _block(2 * width, 4 * width, stride=2),
        )
        self.up_second, self.up_first = _block(6 * width, 2 * width), _block(3 * width, width)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)  # [B, w, H, W]
        second = self.second(first)  # [B, 2 w, H / 2, W / 2]
        third = self.third(second)  # [B, 4 w, H / 4, W / 4]
        second = self.up_second(torch.cat([second, F.interpolate(third, size=second.shape[2:])], dim=1))
        first = self.up_first(torch.cat([first, F.interpolate(second, size=first.shape[2:])], dim=1))
        return self.head(first)


def defect_maps(
    good: torch.Tensor,
    pools: Sequence[tuple[torch.Tensor, torch.Tensor]],
    test: torch.Tensor,
    settings: DetectorSettings,
    seed: int,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Trains a detector from scratch and asks it about other images.

    One thread; equal arguments give equal bits on one CPU.

    Args:
        good: images without defects [G, C, H, W], uint8.
        pools: images with defects [N, C, H, W] and their masks [N, 1, H, W], uint8; each pool is seen as often as any other,
            however many images it has.
        test: images to be asked about [T, C, H, W], uint8.
        settings: the network and its training.
        seed: of first weights and of all that is drawn.
        device: where it is trained.

    Returns:
        Probabilities of a defect [T, H, W], float32, on the CPU.
    """
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "detector weights"))
        network = Detector(good.shape[1], settings.width).to(device).train()
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on a CPU
        optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate)
        for step in range(settings.steps):
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * (1 - step / settings.steps)
            images, masks = detector_batch(good, pools, settings, generator(seed, "detector", step))
            logits = network(to_floats(images).to(device))
            # Cross-entropy alone is content with marking nothing, since most pixels are good: overlap (Dice) is asked for, too.
            loss = F.binary_cross_entropy_with_logits(logits, masks.to(device)) + _dice(logits, masks.to(device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        network.eval()
        with torch.no_grad():
            parts = (
                network(to_floats(part).to(device)).sigmoid()[:, 0].float().cpu() for part in test.split(_AT_A_TIME)
            )
            return torch.cat(list(parts))


def detector_batch(
    good: torch.Tensor,
    pools: Sequence[tuple[torch.Tensor, torch.Tensor]],
    settings: DetectorSettings,
    draws: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [B, C, H, W], uint8, and what is marked in them [B, 1, H, W], 0 or 1; each turned on its own."""
    images, masks = [], []
    for place in range(settings.batch):
        pool = (place // 2) % len(pools)
        own, marked = (good, None) if place % 2 == 0 else pools[pool]
        row = int(torch.randint(len(own), (), generator=draws))
        turns = int(torch.randint(8, (), generator=draws)) if settings.turn and own.shape[2] == own.shape[3] else 0
        mask = torch.zeros_like(own[row, :1]) if marked is None else marked[row]
        images.append(turn(own[row], turns))
        masks.append(turn(mask, turns))
    return torch.stack(images), (torch.stack(masks) >= 128).float()


def _dice(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """1 - the overlap of what is marked and what should be, over the whole batch (Milletari et al. 2016, arXiv 1606.04797)."""
    found = logits.sigmoid()
    return 1 - (2 * (found * masks).sum() + 1) / (found.square().sum() + masks.sum() + 1)


def _block(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    def layer(given: int, by: int) -> list[nn.Module]:
        return [
            nn.Conv2d(given, out, 3, stride=by, padding=1),
            nn.GroupNorm(max(1, out // 8), out),
            nn.SiLU(inplace=True),
        ]

    return nn.Sequential(*layer(channels, stride), *layer(out, 1))
