"""Interleaved timings in CPU-seconds of one thread, floating-point operations, and the machine's matrix-product peak."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch

from benchmarks.throughput.diffusers_dit import DiffusersLoop
from benchmarks.throughput.ours import Ours
from benchmarks.throughput.plain_dit import PlainLoop
from benchmarks.throughput.shapes import Shape

CONTESTANTS = (Ours, DiffusersLoop, PlainLoop)
OURS = Ours.name
IMAGES = 512
PEAK_SHAPES = ((256, 256, 256), (1024, 384, 1536), (1024, 768, 3072), (1024, 1024, 1024), (2048, 2048, 2048))
"""Rows, inner and outer columns of the products among which the peak is looked for."""


class Contestant(Protocol):
    """What is timed."""

    name: str
    model: torch.nn.Module

    def train_step(self) -> None:
        """One training step."""

    def sample(self) -> torch.Tensor:
        """A batch of samples."""


def build(shape: Shape, kinds: tuple[Any, ...] = CONTESTANTS) -> list[Contestant]:
    """The contestants with the same images."""
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(IMAGES, *shape.image, generator=draws) * 2 - 1
    labels = torch.arange(IMAGES) % shape.classes
    return [kind(shape, images, labels) for kind in kinds]


def seconds_of(work: Callable[[], Any], times: int) -> float:
    """CPU-seconds of one call, on average over `times` calls."""
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times


def interleaved(works: dict[str, Callable[[], Any]], repeats: int, slice_seconds: float) -> dict[str, list[float]]:
    """CPU-seconds a call of each, in turn, `repeats` times; each turn lasts about `slice_seconds`."""
    times = {name: max(1, round(slice_seconds / seconds_of(work, 2))) for name, work in works.items()}
    found: dict[str, list[float]] = {name: [] for name in works}
    gc.collect()
    for _ in range(repeats):
        for name, work in works.items():
            found[name].append(seconds_of(work, times[name]))
    return found


def measure(shape: Shape, repeats: int, slice_seconds: float, peak: float) -> dict[str, Any]:
    """Both kinds of work of every contestant.

    Args:
        shape: of networks and images.
        repeats: turns of each contestant.
        slice_seconds: length of a turn.
        peak: matrix-product peak, in operations a second.
    """
    contestants = build(shape)
    training = interleaved({c.name: c.train_step for c in contestants}, repeats, slice_seconds)
    sampling = interleaved({c.name: c.sample for c in contestants}, repeats, slice_seconds)
    flops = {c.name: train_flops(c) for c in contestants}
    rows = {
        c.name: {
            "parameters": sum(p.numel() for p in c.model.parameters()),
            "train_images_per_second": shape.train_batch / statistics.median(training[c.name]),
            "sample_images_per_second": shape.sample_batch / statistics.median(sampling[c.name]),
            "train_flops": flops[c.name],
            "flop_utilisation": flops[c.name] / statistics.median(training[c.name]) / peak,
        }
        for c in contestants
    }
    return {
        "contestants": rows,
        "train_ratio": against_better_peer(training),
        "sample_ratio": against_better_peer(sampling),
        "flop_utilisation": rows[OURS]["flop_utilisation"],
    }


def against_better_peer(seconds: dict[str, list[float]]) -> float:
    """How many times as fast as the better peer: the smaller of the medians over turns of peer / ours in the same turn."""
    return min(
        statistics.median(theirs / ours for theirs, ours in zip(turns, seconds[OURS], strict=True))
        for name, turns in seconds.items()
        if name != OURS
    )


def train_flops(contestant: Contestant) -> int:
    """Floating-point operations of a training step, by torch's counter."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        contestant.train_step()
    return counter.get_total_flops()


def matmul_peak(slice_seconds: float) -> float:
    """The best rate of a float32 matrix product of any of `PEAK_SHAPES`, in operations a second."""
    return max(product_rate(*sizes, slice_seconds) for sizes in PEAK_SHAPES)


def product_rate(rows: int, inner: int, columns: int, slice_seconds: float) -> float:
    """Operations a second of one product; the best of five turns."""
    a, b = torch.randn(rows, inner), torch.randn(inner, columns)
    out = torch.empty(rows, columns)

    def work() -> None:
        torch.mm(a, b, out=out)

    work()
    times = max(1, round(slice_seconds / 5 / seconds_of(work, 2)))
    return 2 * rows * inner * columns / min(seconds_of(work, times) for _ in range(5))
