"""How a training step is spread over processes and over time; docs/scale.md."""

from __future__ import annotations

from typing import Literal

from sadm.core.config import Config, Count, Positive


class ParallelConfig(Config):
    """Several processes, and what saves memory; start them with torchrun."""

    strategy: Literal["ddp", "fsdp", "hybrid"] = "ddp"
    """What each of several processes holds: ddp = everything; fsdp = its share of weights, gradients, moments and averages;
    hybrid = its share within a group of processes, every group holding everything.
    """
    shard: Count = 0
    """hybrid: processes in a group; 0 = those of one machine."""
    accumulate: Positive = 1
    """Micro-batches of a step, one after another; optimiser.batch is their sum, over all processes."""
    exact: bool = False
    """Relate the images of the whole batch, also where it is cut into micro-batches, for a second forward pass; without it, those
    of a micro-batch are related, over all processes.
    """
    recompute: bool = False
    """Keep the activations of each block's input alone, and compute the others again in the backward pass."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the network's products; weights, norms, relations, losses and averages are float32 in any case."""
    compile: str | None = None
    """A backend of torch.compile, such as inductor, for the network's blocks; None = none."""
    background: bool = False
    """Write checkpoints while the training goes on, from a copy in memory."""


FREE_TO_CHANGE = ("parallel.strategy", "parallel.shard", "parallel.recompute", "parallel.background")
"""Keys that alter no number, or by rounding alone; nor does the number of processes."""
