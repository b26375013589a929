"""How a training is spread over devices, as far as a plan has to know. Imports no torch."""

from __future__ import annotations

from sadm.core.errors import UserError
from sadm.training.parallel_config import ParallelConfig


def local_batch(parallel: ParallelConfig, batch: int, count: int) -> int:
    """Images of a micro-batch on the one of `count` devices that has most, of a step of `batch` images.

    Raises:
        UserError: the batch has fewer images than there are micro-batches.
    """
    if count < 1:
        raise UserError(f"--count is {count}; expected at least one device.")
    pieces = count * parallel.accumulate
    if batch < pieces:
        raise UserError(
            f"a batch of {batch} can't be spread over {count} devices in {parallel.accumulate} micro-batches each: that needs at "
            f"least {pieces} images. Use a larger --train.optimiser.batch, or fewer devices or micro-batches."
        )
    return -(-batch // pieces)


def shards(parallel: ParallelConfig, count: int, per_machine: int) -> int:
    """Over how many of `count` devices weights, gradients, moments and averages are spread."""
    group = parallel.shard or per_machine
    return {"ddp": 1, "fsdp": count, "hybrid": min(count, group)}[parallel.strategy]
