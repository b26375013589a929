"""Where tensors live, and what time there costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sadm.core.errors import UserError


def resolve_device(name: str) -> torch.device:
    """A device from its name; ``auto`` is the accelerator if there is one, else the CPU.

    Raises:
        UserError: there is no such device on this machine.
    """
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"unknown device '{name}'; expected auto, cpu, or an accelerator such as cuda.") from error
    if device.type != "cpu" and (accelerator is None or device.type != accelerator.type):
        found = accelerator.type if accelerator else "no accelerator"
        raise UserError(f"device '{name}' was asked for, but this machine has {found}. Use --device auto.")
    return device


def spent_seconds(device: torch.device) -> float:
    """A clock of what was spent: processor time of all threads on the CPU, elapsed time of finished work elsewhere."""
    if device.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize(device)
    return time.perf_counter()


@contextmanager
def one_thread() -> Iterator[None]:
    """While open, torch computes on one thread: sums may depend on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """While open, this thread takes numbers too small for a normal float32 (below 1.2e-38) for zero; also a decorator.

    Attention that has become sharp makes many of them, in probabilities and their gradients, and a CPU needs some hundred cycles
    for each product with one. What was set before is set again.
    """
    before = _flushes_denormals()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def _flushes_denormals() -> bool:
    smallest = torch.full((), torch.finfo(torch.float32).tiny)
    return not bool(smallest * 0.5)
