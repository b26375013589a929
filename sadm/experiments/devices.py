"""Which accelerator each worker uses."""

from __future__ import annotations

import torch


def spread(device: str, workers: int, accelerator: str | None, count: int) -> list[str]:
    """A device for every worker: an accelerator serves one alone, since what a run there costs is the time that passes.

    Args:
        device: the one that the configuration names.
        workers: how many are wanted.
        accelerator: what kind this machine has, such as "cuda"; None without one.
        count: how many of it.

    Returns:
        As many names as there will be workers: on the CPU all that are wanted, else no more than there are accelerators, and
        one where the device is named by its number.
    """
    if accelerator is None or device.partition(":")[0] == "cpu":
        return [device] * workers
    if count < 2 or device not in ("auto", accelerator):
        return [device]
    return [f"{accelerator}:{number}" for number in range(min(workers, count))]


def devices_for(device: str, workers: int) -> list[str]:
    """`spread` over what this machine has."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return spread(device, workers, found.type if found else None, torch.accelerator.device_count() if found else 0)


def at_a_time(device: str, jobs: int) -> int:
    """Of so many jobs, how many this machine runs at a time."""
    return len(devices_for(device, jobs))
