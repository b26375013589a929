"""Interleaved timings, floating-point operations, and the machine's matrix-product peak.

On the CPU, CPU-seconds of one thread in float32, or under bfloat16 autocast where that is asked for; on an accelerator, elapsed
seconds of finished work under bfloat16 autocast.
"""

from __future__ import annotations

import dataclasses
import gc
import math
import statistics
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch

from benchmarks.throughput.diffusers_dit import DiffusersLoop
from benchmarks.throughput.ours import Ours
from benchmarks.throughput.plain_dit import PlainLoop
from benchmarks.throughput.shapes import Shape
from sadm.core.devices import spent_seconds

CONTESTANTS = (Ours, DiffusersLoop, PlainLoop)
OURS = Ours.name
IMAGES = 512
PEAK_SHAPES = ((256, 256, 256), (1024, 384, 1536), (1024, 1024, 1024), (1024, 768, 3072), (2048, 2048, 2048))
"""Rows, inner and outer columns of the products among which the peak is looked for."""
WIDE_SHAPES = ((4096, 4096, 4096), (8192, 8192, 8192), (16384, 4096, 16384))
"""The same for an accelerator."""


class Contestant(Protocol):
    """What is timed."""

    name: str
    model: torch.nn.Module

    def train_step(self) -> None:
        """One training step."""

    def sample(self) -> torch.Tensor:
        """A batch of samples."""


@dataclasses.dataclass(frozen=True)
class Manner:
    """How all contestants compute.

    Attributes:
        compiled: torch compiles our network.
        bfloat16: products in bfloat16, also on the CPU.
    """

    compiled: bool = False
    bfloat16: bool = False

    @property
    def suffix(self) -> str:
        """Of the name of a stored result."""
        return ("-compiled" if self.compiled else "") + ("-bfloat16" if self.bfloat16 else "")

    def dtype(self, device: torch.device) -> torch.dtype:
        """Of products."""
        return torch.bfloat16 if self.bfloat16 or device.type != "cpu" else torch.float32


AS_USUAL = Manner()


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        turns: of each contestant, at least.
        slice_seconds: of a turn.
        seconds: further turns are taken as long as they end within so many elapsed seconds.
        warm_up: untimed calls before.
        peak_seconds: for each matrix product.
        peak_shapes: how many of the products are tried.
    """

    turns: int
    slice_seconds: float
    seconds: float = 0.0
    warm_up: int = 0
    peak_seconds: float = 1.0
    peak_shapes: int = len(PEAK_SHAPES)


def made_up_data(shape: Shape, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [N, C, H, W] in [-1, 1] and labels [N], the same for every contestant."""
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(IMAGES, *shape.image, generator=draws) * 2 - 1
    return images.to(device), (torch.arange(IMAGES) % shape.classes).to(device)


def build(shape: Shape, device: torch.device, kinds: tuple[Any, ...] = CONTESTANTS) -> list[Any]:
    """The contestants with the same images."""
    images, labels = made_up_data(shape, device)
    return [kind(shape, images, labels) for kind in kinds]


def seconds_of(work: Callable[[], Any], times: int, device: torch.device) -> float:
    """Seconds of one call, on average over `times` calls."""
    start = spent_seconds(device)
    for _ in range(times):
        work()
    return (spent_seconds(device) - start) / times


def interleaved(
    works: dict[str, Callable[[], Any]], effort: Effort, device: torch.device, first: dict[str, float] | None = None
) -> dict[str, list[float]]:
    """Seconds a call of each, in turn; every second round goes backwards.

    `first` has the seconds of a call that was made before, and says how many fill a turn; None = such a call is made here.
    """
    start = time.monotonic()
    for work in works.values():
        for _ in range(effort.warm_up):
            work()
    first = first or {name: seconds_of(work, 1, device) for name, work in works.items()}
    times = {name: max(1, round(effort.slice_seconds / first[name])) for name in works}
    found: dict[str, list[float]] = {name: [] for name in works}
    gc.collect()
    done = 0
    while done < effort.turns or (time.monotonic() - start) * (done + 2) / (done + 1) < effort.seconds:
        for name in [*works][:: -1 if done % 2 else 1]:
            found[name].append(seconds_of(works[name], times[name], device))
        done += 1
    return found


def measure(shape: Shape, effort: Effort, device: torch.device, manner: Manner = AS_USUAL) -> dict[str, Any]:
    """Both kinds of work of every contestant; `rate_against_peak` adds the utilisation.

    Args:
        shape: of networks and images.
        effort: how long.
        device: where.
        manner: how they compute.
    """
    contestants = build(shape, device)
    flops, first = {}, {}
    for c in contestants:
        start = spent_seconds(device)
        flops[c.name] = train_flops(c)
        first[c.name] = spent_seconds(device) - start
    if manner.compiled:
        contestants[0].compile()
    dtype = manner.dtype(device)
    training = {c.name: as_precise(c.train_step, device, dtype) for c in contestants}
    sampling = {c.name: as_precise(c.sample, device, dtype) for c in contestants}
    trained = interleaved(training, effort, device, None if manner.bfloat16 else first)
    sampled = interleaved(sampling, effort, device)
    return {
        "contestants": {
            c.name: {
                "parameters": sum(p.numel() for p in c.model.parameters()),
                "train_seconds": statistics.median(trained[c.name]),
                "train_images_per_second": shape.train_batch / statistics.median(trained[c.name]),
                "sample_images_per_second": shape.sample_batch / statistics.median(sampled[c.name]),
                "train_flops": flops[c.name],
            }
            for c in contestants
        },
        "train_ratio": against_better_peer(trained),
        "sample_ratio": against_better_peer(sampled),
        "turns": {"train": len(trained[OURS]), "sample": len(sampled[OURS])},
        **shape.facts(),
    }


def rate_against_peak(found: dict[str, Any], peak: float) -> None:
    """Sets ``flop_utilisation`` of what `measure` gave; `peak` in operations a second."""
    for row in found["contestants"].values():
        row["flop_utilisation"] = row["train_flops"] / row["train_seconds"] / peak
    found["flop_utilisation"] = found["contestants"][OURS]["flop_utilisation"]


def as_precise(work: Callable[[], Any], device: torch.device, dtype: torch.dtype) -> Callable[[], Any]:
    """`work` as it is for float32, otherwise under autocast."""
    if dtype == torch.float32:
        return work

    def cast() -> Any:
        with torch.autocast(device.type, dtype):
            return work()

    return cast


def against_better_peer(seconds: dict[str, list[float]]) -> float:
    """How many times as fast as the better peer: the smaller of the medians over turns of peer / ours in the same turn."""
    return min(
        statistics.median(theirs / ours for theirs, ours in zip(turns, seconds[OURS], strict=True))
        for name, turns in seconds.items()
        if name != OURS
    )


def train_flops(contestant: Contestant) -> int:
    """Floating-point operations of a training step, by torch's counter, which knows no fused attention of the CPU."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False, custom_mapping=attention_formulas()) as counter:
        contestant.train_step()
    return counter.get_total_flops()


def attention_formulas() -> dict[Any, Any]:
    """Operations of fused attention forward, and backward, of which a second computation of the scores is left out."""
    aten = torch.ops.aten

    def forward(query: Any, key: Any, *others: Any, **options: Any) -> int:
        *batch, tokens, channels = query
        return 4 * math.prod(batch) * tokens * key[-2] * channels

    def backward(gradient: Any, query: Any, key: Any, *others: Any, **options: Any) -> int:
        return 2 * forward(query, key)

    return {
        aten._scaled_dot_product_flash_attention_for_cpu: forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
        aten._scaled_dot_product_flash_attention_backward: backward,
        aten._scaled_dot_product_efficient_attention_backward: backward,
        aten._scaled_dot_product_cudnn_attention_backward: backward,
    }


def matmul_peak(effort: Effort, device: torch.device, dtype: torch.dtype) -> float:
    """The best rate of a matrix product of several shapes, in operations a second."""
    shapes = PEAK_SHAPES[: effort.peak_shapes] if device.type == "cpu" else WIDE_SHAPES
    return max(product_rate(sizes, effort.peak_seconds, device, dtype) for sizes in shapes)


def product_rate(sizes: tuple[int, int, int], slice_seconds: float, device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of one product; the best of five turns."""
    rows, inner, columns = sizes
    a, b = torch.randn(rows, inner, device=device, dtype=dtype), torch.randn(inner, columns, device=device, dtype=dtype)
    out = torch.empty(rows, columns, device=device, dtype=dtype)

    def work() -> None:
        torch.mm(a, b, out=out)

    work()
    times = max(1, round(slice_seconds / 5 / seconds_of(work, 1, device)))
    return 2 * rows * inner * columns / min(seconds_of(work, times, device) for _ in range(5))
