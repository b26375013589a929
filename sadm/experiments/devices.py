"""Which accelerator each worker uses."""

from __future__ import annotations

import torch


def spread(device: str, workers: int, accelerator: str | None, count: int) -> list[str]:
    """A device for every worker: accelerators in turn, so that none has two workers more than another.

    Args:
        device: the one that the configuration names.
        workers: how many there are.
        accelerator: what kind this machine has, such as "cuda"; None without one.
        count: how many of it.

    Returns:
        As many names as workers. A device that is named by its number, or the CPU, serves them all.
    """
    if count < 2 or device not in ("auto", accelerator):
        return [device] * workers
    return [f"{accelerator}:{worker % count}" for worker in range(workers)]


def devices_for(device: str, workers: int) -> list[str]:
    """`spread` over what this machine has."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return spread(device, workers, found.type if found else None, torch.accelerator.device_count() if found else 0)
