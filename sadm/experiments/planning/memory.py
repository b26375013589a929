"""Memory of a training by part, in bytes of the device that holds most.

Weights, gradients, moments and averages follow from the parameters; what the backward pass keeps is counted on fake tensors,
which have a shape and no numbers, and go through the very operations of a training.
"""

from __future__ import annotations

import contextlib
import dataclasses
from functools import lru_cache
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from sadm.experiments.planning.flops import Counts, Shape, network_keys, network_of
from sadm.experiments.planning.parallel import shards
from sadm.experiments.planning.signals import SignalCost
from sadm.experiments.planning.tracking import LiveBytes
from sadm.training.config import TrainConfig
from sadm.training.parallel_config import ParallelConfig

FLOAT = 4
"""Bytes of a number in single precision: weights, gradients, moments and averages are kept in it."""
INPUTS = 8
"""Tensors of the batch's shape that a step holds around the network: x0, noise, x_t, x0_hat, their scaled forms and gradients."""
LARGEST = 16
"""Images of the largest batch that is counted; more are extrapolated."""
DEPTHS = (2, 3)
"""Blocks of the networks that a deeper one is extrapolated from: all blocks keep equally much."""


@dataclasses.dataclass(frozen=True)
class Kept:
    """Bytes of a network's backward pass: of a batch of B images, ``fixed + B * per_image``.

    Attributes:
        fixed: kept from forward to backward whatever the batch, such as weights cast to half precision.
        per_image: kept of each image.
        working: held for a moment on top.
        working_per_image: the same of each image.
    """

    fixed: float
    per_image: float
    working: float
    working_per_image: float

    def kept(self, batch: int) -> float:
        """From forward to backward."""
        return self.fixed + batch * self.per_image

    def moment(self, batch: int) -> float:
        """For a moment."""
        return self.working + batch * self.working_per_image


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on the device that holds most.

    Attributes:
        weights, gradients, moments, averages: of the network, and of its optimiser.
        source: the model that the training starts from, where a signal compares with it.
        buckets: gradients laid out for the network, and blocks of weights gathered from other devices.
        activations: what a micro-batch keeps from forward to backward.
        working: the most that is held for a moment in the backward pass.
        structure: the signal's networks and optimisers.
        relating: what the signal holds for a moment.
        batch: images and noise.
    """

    weights: float
    gradients: float
    moments: float
    averages: float
    source: float
    buckets: float
    activations: float
    working: float
    structure: float
    relating: float
    batch: float

    @property
    def total(self) -> float:
        """The sum of all: what is to be provided. Gradients come as activations go, but an allocator can't use every gap."""
        return sum(dataclasses.asdict(self).values())

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return {**dataclasses.asdict(self), "total": self.total}


def kept(
    shape: Shape, config: TrainConfig, batch: int = LARGEST, precision: str = "float32", recompute: bool = False
) -> Kept:
    """What a network's backward pass keeps; fused attention keeps no matrices of scores.

    Args:
        shape: of an image or latent (C, H, W).
        config: says the network and its method.
        batch: images of a micro-batch, near which the bytes held for a moment are exact.
        precision: of the products.
        recompute: whether blocks are computed again.
    """
    depth = config.net.depth
    if config.net.kind == "dit" and depth > max(DEPTHS):
        few, more = (kept(shape, with_depth(config, blocks), batch, precision, recompute) for blocks in DEPTHS)
        blocks = (depth - DEPTHS[0]) / (DEPTHS[1] - DEPTHS[0])
        fixed = few.fixed + blocks * (more.fixed - few.fixed)
        return Kept(
            fixed, few.per_image + blocks * (more.per_image - few.per_image), more.working, more.working_per_image
        )
    large = max(2, min(batch, LARGEST))
    small = large // 2
    low, high = (_held(shape, network_keys(config), precision, recompute, images) for images in (small, large))
    of_image, of_moment = ((b - a) / (large - small) for a, b in zip(low, high, strict=True))
    of_moment = max(0.0, of_moment)  # gradients of weights, for a moment, weigh more in small batches
    return Kept(low[0] - small * of_image, of_image, high[1] - large * of_moment, of_moment)


def with_depth(config: TrainConfig, depth: int) -> TrainConfig:
    """The same configuration with so many blocks."""
    return config.model_copy(update={"net": config.net.model_copy(update={"depth": depth})})


@lru_cache(maxsize=128)
def _held(shape: Shape, keys: str, precision: str, recompute: bool, batch: int) -> tuple[int, int]:
    """Bytes that a batch keeps after the forward pass, and those held for a moment on top in the backward pass."""
    half: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if precision == "bfloat16":
        half = torch.autocast("cpu", torch.bfloat16)
    with FakeTensorMode():
        network, x, level, cond = network_of(shape, keys, 1, recompute)
        x, level = x.expand(batch, *shape).contiguous(), level.repeat(batch)
        label = torch.zeros(batch, dtype=torch.int64)
        cond = dataclasses.replace(
            cond, label=label, augment=None if cond.augment is None else cond.augment.repeat(batch, 1)
        )
        for part in network.parameters():
            if part.requires_grad:
                part.register_post_accumulate_grad_hook(_drop)  # gradients are a part of their own
        tracker = LiveBytes()
        with tracker:
            with half:
                output = network(x, level, cond)
            forward = tracker.held - output.untyped_storage().nbytes()
            torch.autograd.backward([output], [torch.zeros_like(output)])
    return forward, tracker.peak - forward


def _drop(parameter: torch.Tensor) -> None:
    parameter.grad = None


def lasting_bytes(counts: Counts) -> int:
    """Bytes of weights, gradients, the optimiser's moments and step counters, and the moving average of what learns."""
    return FLOAT * (counts.parameters + 2 * counts.learning + counts.moments)


def memory(
    shape: Shape,
    counts: Counts,
    held: Kept,
    signal: SignalCost,
    parallel: ParallelConfig,
    batches: tuple[int, int],
    devices: tuple[int, int] = (1, 8),
    source: bool = False,
    largest_block: int = 0,
) -> Memory:
    """Memory of a training.

    Args:
        shape: of an image or latent.
        counts: of the network.
        held: of its backward pass.
        signal: of the training signal.
        parallel: how the training is spread.
        batches: images of a micro-batch on a device, and of the global batch.
        devices: how many there are, and how many in a machine.
        source: whether the model that the training starts from is held, too.
        largest_block: parameters of a block, of which sharded training gathers two at a time.
    """
    local, batch = batches
    parts = shards(parallel, *devices)
    learning, spread = FLOAT * counts.learning, devices[0] > 1
    buckets = 2.0 * FLOAT * largest_block if parts > 1 else float(learning) if spread else 0.0
    relations = signal.relations * FLOAT * float(batch) ** 2 + FLOAT * batch * signal.embedding * (3 if spread else 0)
    grams = FLOAT * sum(signal.gram or ()) ** 2
    return Memory(
        weights=FLOAT * counts.parameters / parts,
        gradients=learning / parts,
        moments=FLOAT * counts.moments / parts,
        averages=learning / parts,
        source=FLOAT * counts.parameters if source else 0.0,
        buckets=buckets,
        activations=held.kept(local),
        working=held.moment(local),
        structure=float(signal.state),
        relating=local * signal.per_image + relations + grams,
        batch=float(INPUTS * FLOAT * local * torch.Size(shape).numel()),
    )


def checkpoint_bytes(counts: Counts, signal: SignalCost) -> int:
    """Bytes of the tensors in a checkpoint: what learns, its average, the optimiser's moments and counters, and the signal's
    state."""
    return FLOAT * (2 * counts.learning + counts.moments) + signal.state


def block_parameters(counts: Counts, config: TrainConfig) -> int:
    """Parameters of a block, nearly: all over the number of blocks."""
    return counts.parameters // max(1, config.net.depth) if config.net.kind == "dit" else counts.parameters
