"""What a training would take, put together from the parts of this package; docs/plan.md has the formulas."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.experiments.planning.calibration import Calibration
from sadm.experiments.planning.devices import Gpu
from sadm.experiments.planning.failures import DEVICE_MTBF_HOURS, RESTART_SECONDS, STORAGE_GBYTES, Failures, failures
from sadm.experiments.planning.flops import Counts, count, sampling_operations, taking_part
from sadm.experiments.planning.memory import FLOAT, Memory, block_parameters, checkpoint_bytes, kept, memory
from sadm.experiments.planning.money import Hours
from sadm.experiments.planning.network import Cluster, Traffic, structure_bytes, traffic
from sadm.experiments.planning.parallel import local_batch
from sadm.experiments.planning.signals import SignalCost, needs_source, signal_cost
from sadm.experiments.planning.subject import BUILT_IN, Subject
from sadm.training.parallel_config import ParallelConfig


@dataclasses.dataclass(frozen=True)
class Rates:
    """What is assumed about a cluster's failures and storage.

    Attributes:
        mtbf_hours: between failures of one device.
        storage: GB/s at which all devices together write a checkpoint.
        restart: seconds.
    """

    mtbf_hours: float = DEVICE_MTBF_HOURS
    storage: float = STORAGE_GBYTES
    restart: float = RESTART_SECONDS


@dataclasses.dataclass(frozen=True)
class Step:
    """One step, on average over the schedule of the signal.

    Attributes:
        plain: operations of the global batch without the signal.
        structure: of the signal, in a step in which it takes part.
        taking_part: share of steps in which it does.
        computing: seconds of computing.
        waiting: seconds of traffic that nothing hides.
    """

    plain: float
    structure: float
    taking_part: float
    computing: float
    waiting: float

    @property
    def seconds(self) -> float:
        """Of the whole step."""
        return self.computing + self.waiting


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a training would take.

    Attributes:
        subject: what is planned.
        gpu: what hours are counted for; its share is 1 where speed was measured.
        cluster: how many devices, and what connects them.
        parallel: how the training is spread.
        local_batch: images of a micro-batch on a device.
        counts: of the network.
        step: of one step.
        memory: of a device, in bytes.
        largest_batch: images of a micro-batch that fit a device; 0 = none.
        traffic: of a step.
        checkpoint: bytes.
        failures: what they cost.
        hours: of the whole training.
        calibration: what was measured; None = counted from the peak.
    """

    subject: Subject
    gpu: Gpu
    cluster: Cluster
    parallel: ParallelConfig
    local_batch: int
    counts: Counts
    step: Step
    memory: Memory
    largest_batch: int
    traffic: Traffic
    checkpoint: int
    failures: Failures
    hours: Hours
    calibration: Calibration | None

    @property
    def host_gib(self) -> float | None:
        """Main memory for the decoded images; None where their number is not known."""
        pixels = 3 * (self.subject.config.data.resolution or 0) ** 2
        if self.subject.config.data.autoencoder is None:
            pixels = torch.Size(self.subject.shape).numel()
        return None if self.subject.images is None else self.subject.images * pixels / 2**30

    @property
    def process_mib(self) -> float | None:
        """Memory that a process on this machine grows to; None where that was not measured."""
        if self.calibration is None or self.calibration.base_mib is None:
            return None
        data = self.subject.config.data
        there = data.autoencoder is not None or data.source in BUILT_IN  # measured with the rest
        images = 0.0 if there else 1024 * (self.host_gib or 0.0)
        return self.calibration.base_mib + self.calibration.allocator * self.memory.total / 2**20 + images

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        parts = ("gpu", "cluster", "counts", "step", "traffic", "failures", "hours")
        config = self.subject.config
        return {
            "name": self.subject.name,
            "shape": self.subject.shape,
            "classes": self.subject.classes,
            "images": self.subject.images,
            "signal": config.signal,
            "steps": config.optimiser.steps,
            "batch": config.optimiser.batch,
            "local_batch": self.local_batch,
            **{name: dataclasses.asdict(getattr(self, name)) for name in parts},
            "parallel": self.parallel.model_dump(mode="json"),
            "published_gflops": self.counts.published_gflops,
            "memory": self.memory.as_dict(),
            "fits": self.local_batch <= self.largest_batch,
            "largest_batch": self.largest_batch,
            "step_seconds": self.step.seconds,
            "elapsed_hours": self.hours.elapsed,
            "device_hours": self.hours.paid,
            "checkpoint_bytes": self.checkpoint,
            "host_gib": self.host_gib,
            "process_mib": self.process_mib,
            "calibration": None if self.calibration is None else dataclasses.asdict(self.calibration),
        }


def plan(
    subject: Subject,
    gpu: Gpu,
    cluster: Cluster,
    parallel: ParallelConfig | None = None,
    rates: Rates | None = None,
    calibration: Calibration | None = None,
) -> Plan:
    """Plans a training.

    Args:
        subject: what is planned.
        gpu: on what.
        cluster: how many of it, and what connects them.
        parallel: how the training is spread; None = as its configuration says.
        rates: of failures and storage; None = as by default.
        calibration: measured on this machine; None = the peak and share of `gpu`.

    Raises:
        UserError: the batch can't be spread, or the network can't be built.
    """
    rates, config = rates or Rates(), subject.config
    parallel = parallel or config.parallel
    batch = config.optimiser.batch
    local = local_batch(parallel, batch, cluster.count)
    if config.data.fit == "buckets":
        raise UserError(
            "data.fit 'buckets' has images of many shapes, and a plan is about one. Plan with --train.data.fit crop."
        )
    counts = count(subject.shape, config, subject.classes, recompute=parallel.recompute)
    signal = signal_cost(subject.shape, config, subject.classes, counts)
    held = kept(subject.shape, config, local, parallel.precision, parallel.recompute)
    spread = (cluster.count, cluster.per_machine)
    taken = memory(
        subject.shape,
        counts,
        held,
        signal,
        parallel,
        (local, batch),
        spread,
        needs_source(config),
        block_parameters(counts, config),
    )
    sent = traffic(
        parallel,
        cluster,
        FLOAT * counts.parameters,
        FLOAT * counts.learning,
        structure_bytes(batch, signal.embedding, signal.gram, cluster.count),
    )
    step = _step(subject, gpu, cluster, parallel, (counts, signal, sent), local, calibration)
    saved = checkpoint_bytes(counts, signal)
    failing = failures(saved, cluster.count, rates.mtbf_hours, rates.storage, rates.restart)
    return Plan(
        subject,
        gpu,
        cluster,
        parallel,
        local,
        counts,
        step,
        taken,
        _largest_batch(taken, local, gpu),
        sent,
        saved,
        failing,
        _hours(subject, gpu, cluster, counts, step, failing, calibration),
        calibration,
    )


def _hours(
    subject: Subject,
    gpu: Gpu,
    cluster: Cluster,
    counts: Counts,
    step: Step,
    failing: Failures,
    calibration: Calibration | None,
) -> Hours:
    """Of training, with an encoder's where that was measured, of drawing, and what failures cost."""
    config = subject.config
    training = config.optimiser.steps * step.seconds / 3600
    if calibration is not None:
        training += config.structure.encoder_steps * calibration.pretrain_seconds / 3600
    drawing = gpu.hours(sampling_operations(counts, config, subject.classes, subject.samples)) / cluster.count
    return Hours(training, drawing, training * failing.overhead, cluster.count)


def _step(
    subject: Subject,
    gpu: Gpu,
    cluster: Cluster,
    parallel: ParallelConfig,
    found: tuple[Counts, SignalCost, Traffic],
    local: int,
    calibration: Calibration | None,
) -> Step:
    counts, signal, sent = found
    config, share = subject.config, taking_part(subject.config)
    batch = config.optimiser.batch
    plain, structure = batch * counts.step + counts.optimiser, batch * signal.operations
    if calibration is None:
        images = local * parallel.accumulate  # of the device that has most
        computing = 3600 * gpu.hours(images * (counts.step + share * signal.operations) + counts.optimiser)
    else:
        computing = parallel.accumulate * calibration.mean_step(subject)
    return Step(plain, structure, share, computing, sent.exposed(computing, share))


def _largest_batch(taken: Memory, local: int, gpu: Gpu) -> int:
    """Images of a micro-batch that fit; what a batch takes is in proportion to it."""
    of_batch = taken.activations + taken.working + taken.batch + taken.relating
    room = gpu.gib * 2**30 - (taken.total - of_batch)
    return max(0, int(room / (of_batch / local)))
