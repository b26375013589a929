"""How a training is spread over devices, as far as a plan has to know. Imports no torch."""

from __future__ import annotations

from typing import Literal

from sadm.core.config import Config, Positive
from sadm.core.errors import UserError

Strategy = Literal["ddp", "fsdp", "hybrid"]
Precision = Literal["float32", "bfloat16"]


class Parallel(Config):
    """How a training is spread over devices."""

    strategy: Strategy = "ddp"
    """ddp = every device holds all weights; fsdp = weights, gradients, moments and averages are spread over all devices;
    hybrid = they are spread over the devices of a machine, and every machine holds all.
    """
    accumulate: Positive = 1
    """Micro-batches of a step on each device."""
    recompute: bool = False
    """Keep the input of each block alone, and compute the block again in the backward pass."""
    precision: Precision = "float32"
    """bfloat16 = matrix products under autocast; weights, gradients and moments stay float32."""

    def local_batch(self, batch: int, count: int) -> int:
        """Images of a micro-batch on the device that has most.

        Raises:
            UserError: the batch has fewer images than there are micro-batches.
        """
        if count < 1:
            raise UserError(f"--count is {count}; expected at least one device.")
        pieces = count * self.accumulate
        if batch < pieces:
            raise UserError(
                f"a batch of {batch} can't be spread over {count} devices in {self.accumulate} micro-batches each: that needs at "
                f"least {pieces} images. Use a larger --train.optimiser.batch, or fewer devices or micro-batches."
            )
        return -(-batch // pieces)

    def shards(self, count: int, per_machine: int) -> int:
        """Over how many devices weights, gradients, moments and averages are spread."""
        return {"ddp": 1, "fsdp": count, "hybrid": min(count, per_machine)}[self.strategy]
