"""What an experiment would take: operations, memory and hours, as `sadm.experiments.planning` counts them.

operations of a step   = images in a batch x (those of the network, forward and backward, + those of the signal)
seconds of training    = steps x operations of a step / (peak of the GPU x share of it that is reached)
seconds of sampling    = images x network evaluations (twice with guidance) x operations forward / the same
memory                 = weights + what learns x (gradient + two moments of AdamW + moving average) + activations x batch

All in single precision, in which the trainer works. A multiplication and an addition are two operations.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from sadm.experiments.planning.devices import Gpu
from sadm.experiments.planning.flops import Counts, count, sampling_operations, taking_part
from sadm.experiments.planning.memory import kept, lasting_bytes
from sadm.experiments.planning.signals import signal_cost
from sadm.experiments.reproduction.targets import Target


@dataclasses.dataclass(frozen=True)
class Plan:
    """What an arm of an experiment would take; memory in GiB, of one process.

    Attributes:
        counts: of its network.
        signal_share: operations of the training signal over those of the network.
        training_hours: of the GPU.
        sampling_hours: of the GPU, for the images that are judged.
        fixed: memory that does not depend on the batch.
        activations: memory of a batch's activations.
        largest_batch: that fits the GPU; 0 = none.
        host: main memory for the decoded images; None where their number is not known.
        latents: disk for the latents; None without, or where the number of images is not known.
    """

    counts: Counts
    signal_share: float
    training_hours: float
    sampling_hours: float
    fixed: float
    activations: float
    largest_batch: int
    host: float | None
    latents: float | None

    @property
    def hours(self) -> float:
        """All hours of the GPU."""
        return self.training_hours + self.sampling_hours

    @property
    def memory(self) -> float:
        """Of the GPU, with the recipe's batch."""
        return self.fixed + self.activations

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**dataclasses.asdict(self), "hours": self.hours, "memory": self.memory}


def plan_for(target: Target, arm: str, change: dict[str, Any] | None = None, gpu: Gpu | None = None) -> Plan:
    """Plans an arm of an experiment.

    Args:
        target: the experiment.
        arm: its name.
        change: further keys of the configuration.
        gpu: None = an A100.

    Raises:
        UserError: there is no such arm, or peft is needed and missing.
    """
    gpu, config, classes = gpu or Gpu(), target.config(arm, change), target.planned_classes
    counts = count(target.latent_shape, config, classes)
    signal = signal_cost(target.latent_shape, config, classes, counts).operations
    batch = config.optimiser.batch
    step = batch * (counts.step + taking_part(config) * signal)
    held = kept(target.latent_shape, config)
    fixed = (lasting_bytes(counts) + held.fixed) / 2**30
    activations = held.per_image / 2**30
    images, pixels = target.images.images, 3 * target.resolution**2
    moments = (
        2 * (1 + config.data.flip) * 2 * torch.Size(target.latent_shape).numel()
    )  # mean and std, in half precision
    return Plan(
        counts,
        signal / counts.step,
        gpu.hours(config.optimiser.steps * step),
        gpu.hours(sampling_operations(counts, config, classes, target.protocol.images)),
        fixed,
        activations * batch,
        max(0, int((gpu.gib - fixed) / activations)),
        None if images is None else images * pixels / 2**30,
        None if images is None or target.start is None else images * moments / 2**30,
    )
