"""This package with a UNet in place of its transformer: plain training, as `sadm train --net.kind unet` does it."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.contestant import Task
from benchmarks.peers.ours import UNET_CHANNELS, Ours

VARIANTS: dict[str, dict[str, Any]] = {
    "batch 8": {"optimiser": {"batch": 8}},
    "batch 32": {"optimiser": {"batch": 32}},
    "straight lines": {"process": {"kind": "flow"}},
    "lower noise": {"process": {"p_mean": -1.0}},
    "higher noise": {"process": {"p_mean": 0.2}},
    "highest noise": {"process": {"p_mean": 0.8}},
    "two layers": {"net": {"layers": 2}},
    "more attention": {"net": {"attention": [1, 2]}},
    "no attention": {"net": {"attention": [], "middle_attention": False}},
    "scale and shift": {"net": {"scale_shift": True}},
    "Muon": {"optimiser": {"kind": "muon"}},
    "straight way down": {"optimiser": {"decay": "linear"}},
    "shorter average": {"optimiser": {"ema_half_life": 2500}},
    "longer average": {"optimiser": {"ema_half_life": 40000}},
}


class OurUNet(Ours):
    """As `Ours`, with the network of the published DDPM models."""

    sizes: dict[str, dict[str, Any]] = {
        size: {"channels": list(channels), "layers": 1} for size, channels in UNET_CHANNELS.items()
    }
    variants, batch = VARIANTS, 16

    def _net(self, task: Task) -> dict[str, Any]:
        return {"kind": "unet", "unet": {**self.sizes[task.size], **task.changes.get("net", {})}}


CONTESTANTS = {"ours_unet": OurUNet("sadm with a UNet, plain training", "none")}
