"""What crosses the network in a step, and how long that takes. Imports no torch.

Bytes are those that one device sends, in a ring: an all-reduce of G bytes over N devices sends 2 (N - 1) / N G of them, a gather
or a reduce-scatter half of that.
"""

from __future__ import annotations

import dataclasses
import math

from sadm.experiments.planning.devices import NVLINK
from sadm.experiments.planning.parallel import shards
from sadm.training.parallel_config import ParallelConfig

NETWORK_GBYTES = 50.0
"""Assumed: GB/s in one direction that a device has to other machines (400 Gbit/s)."""
LATENCY = 10e-6
"""Assumed: seconds that a hop takes."""
BUCKET = 25 * 2**20
"""Bytes of gradients that DDP reduces at once."""
HIDDEN = 2 / 3
"""Assumed: share of computing behind which traffic of weights and gradients can hide; that of the backward pass."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """What connects the devices.

    Attributes:
        count: of devices.
        per_machine: of devices in a machine.
        link: GB/s in one direction inside a machine.
        network: GB/s in one direction to other machines.
        latency: seconds of a hop.
    """

    count: int
    per_machine: int = NVLINK
    link: float = 450.0
    network: float = NETWORK_GBYTES
    latency: float = LATENCY

    @property
    def machines(self) -> int:
        """How many there are."""
        return math.ceil(self.count / self.per_machine)

    @property
    def slowest(self) -> float:
        """GB/s of a ring through all devices."""
        return self.link if self.machines == 1 else min(self.link, self.network)


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Of one step.

    Attributes:
        weights: bytes that a device sends of weights and gradients.
        structure: of embeddings or Gram matrices, in a step in which the signal takes part.
        weights_seconds: that the first take.
        structure_seconds: the second.
    """

    weights: float
    structure: float
    weights_seconds: float
    structure_seconds: float

    def exposed(self, computing: float, taking_part: float = 1.0) -> float:
        """Seconds by which a step that computes for so many is longer.

        Traffic of weights and gradients hides behind the backward pass as far as that lasts; the structure's does not, since the
        backward pass waits for it.

        Args:
            computing: seconds.
            taking_part: share of steps in which the signal takes part.
        """
        return max(0.0, self.weights_seconds - HIDDEN * computing) + taking_part * self.structure_seconds


def all_reduce(size: float, count: int) -> float:
    """Bytes that each of `count` devices sends to sum `size` bytes."""
    return 2 * (count - 1) / count * size


def gather(size: float, count: int) -> float:
    """Bytes that each of `count` devices sends so that all have `size` bytes of which each had a share; likewise to scatter."""
    return (count - 1) / count * size


def hops(count: int) -> int:
    """Latencies of one collective, by a tree there and back."""
    return 2 * math.ceil(math.log2(count)) if count > 1 else 0


def structure_bytes(batch: int, embedding: int, gram: tuple[int, int] | None, count: int) -> float:
    """Bytes that a device sends to relate the global batch.

    Args:
        batch: images of the global batch.
        embedding: numbers of an image's embedding, where embeddings are gathered: of x0, of x0_hat, and the gradients of these.
        gram: widths (d, D) of features and activations, where Gram matrices of (d + D)^2 are summed instead.
        count: of devices.
    """
    if gram is not None:
        return all_reduce(4.0 * sum(gram) ** 2, count)
    return 3 * gather(4.0 * batch * embedding, count)


def traffic(parallel: ParallelConfig, cluster: Cluster, weights: float, gradients: float, structure: float) -> Traffic:
    """What a step sends.

    Args:
        parallel: how the training is spread.
        cluster: over what.
        weights: bytes of all weights, gathered by fsdp and hybrid twice a micro-batch.
        gradients: bytes of all gradients.
        structure: bytes of `structure_bytes`.
    """
    count, gb = cluster.count, 1e9
    latency = cluster.latency * hops(count)
    structure_seconds = structure / (cluster.slowest * gb) + (latency if structure else 0.0)
    if parallel.strategy == "ddp":
        sent = all_reduce(gradients, count)
        buckets = math.ceil(gradients / BUCKET)
        return Traffic(sent, structure, sent / (cluster.slowest * gb) + buckets * latency, structure_seconds)
    parts = shards(parallel, count, cluster.per_machine)
    sharded = parallel.accumulate * (2 * gather(weights, parts) + gather(gradients, parts))
    across = all_reduce(gradients / parts, count // parts) if parallel.strategy == "hybrid" else 0.0
    inside = cluster.link if parts <= cluster.per_machine else cluster.slowest
    seconds = sharded / (inside * gb) + across / (cluster.network * gb) + 3 * parallel.accumulate * latency
    return Traffic(sharded + across, structure, seconds, structure_seconds)
