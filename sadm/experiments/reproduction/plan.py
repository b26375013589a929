"""What an experiment would take: operations, memory and hours, counted on a network without weights.

operations of a step   = images in a batch x (those of the network, forward and backward, + those of the signal)
seconds of training    = steps x operations of a step / (peak of the GPU x share of it that is reached)
seconds of sampling    = images x network evaluations (twice with guidance) x operations forward / the same
memory                 = weights + what learns x (gradient + two moments of AdamW + moving average) + activations x batch

All in single precision, in which the trainer works. A multiplication and an addition are two operations.
"""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sadm.core.conditions import Cond
from sadm.data import Augmentation, Augmenter
from sadm.experiments.reproduction.targets import MODEL, Target
from sadm.finetuning.tuning import share_that_learns, tune
from sadm.structure import StructureGame
from sadm.training.config import StructureConfig, TrainConfig
from sadm.training.pretraining import build_encoder
from sadm.training.spec import ModelSpec

FLOAT = 4  # bytes
SIGNAL_BATCH = 8


@dataclasses.dataclass(frozen=True)
class Gpu:
    """What hours are counted for.

    Attributes:
        name: of the GPU.
        tflops: its peak in single precision, in 10^12 operations a second.
        gib: its memory.
        share: of the peak that is assumed to be reached.
    """

    name: str = "A100 80 GB"
    tflops: float = 19.5
    gib: float = 80.0
    share: float = 0.5

    def hours(self, operations: float) -> float:
        """Hours that so many operations take."""
        return operations / (self.tflops * 1e12 * self.share) / 3600


@dataclasses.dataclass(frozen=True)
class Counts:
    """A network's numbers.

    Attributes:
        parameters: all.
        learning: those that learn.
        tensors: tensors that learn.
        forward: operations for one image, forward.
        step: operations for one image, forward and backward.
        activations: bytes that one image's backward pass keeps, attention matrices among them (a fused kernel keeps less).
        output: shape of what comes out for one image.
    """

    parameters: int
    learning: int
    tensors: int
    forward: int
    step: int
    activations: int
    output: tuple[int, ...]


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
    gpu, config = gpu or Gpu(), target.config(arm, change)
    classes = classes_of(target)
    counts = count(target.latent_shape, config, classes)
    signal = signal_operations(target.latent_shape, config.structure) if config.signal == "structure" else 0.0
    batch, sampling = config.optimiser.batch, config.sampling
    step = batch * (counts.step + signal / config.structure.every)
    evaluations = 2 * sampling.steps - 1 if sampling.solver == "heun" else sampling.steps
    passes = evaluations * (1 if sampling.guidance_scale == 1 or not classes else 2)
    fixed = fixed_bytes(counts) / 2**30
    activations = counts.activations / 2**30
    images, pixels = target.images.images, 3 * target.resolution**2
    moments = (
        2 * (1 + config.data.flip) * 2 * torch.Size(target.latent_shape).numel()
    )  # mean and std, in half precision
    return Plan(
        counts,
        signal / counts.step,
        gpu.hours(config.optimiser.steps * step),
        gpu.hours(target.protocol.images * passes * counts.forward),
        fixed,
        activations * batch,
        max(0, int((gpu.gib - fixed) / activations)),
        None if images is None else images * pixels / 2**30,
        None if images is None or target.start is None else images * moments / 2**30,
    )


def classes_of(target: Target) -> int:
    """Classes that are planned with; as many as the public weights have where the number is not known."""
    if not target.images.labelled:
        return 0
    if target.images.classes is not None:
        return target.images.classes
    return target.start.classes if target.start is not None else 0


def count(shape: tuple[int, int, int], config: TrainConfig, classes: int, whole: bool = False) -> Counts:
    """Counts a network of full size on the meta device, which holds shapes and no numbers.

    Args:
        shape: of an image or latent (C, H, W).
        config: says its sizes, its process and the method that is applied.
        classes: of its class table, but for the null class; 0 = without labels.
        whole: build the whole class table, where otherwise one row is built and the others are added: a class more costs
            parameters and no operation, and networks that differ in nothing else are then counted once.
    """
    parts = config.model_dump(include={"net", "process", "finetune", "data"}, mode="json")
    parts["data"] = {"augment": parts["data"]["augment"]}
    if whole:
        return _count(shape, json.dumps(parts), classes)
    counts = _count(shape, json.dumps(parts), min(classes, 1))
    rows = max(0, classes - 1) * config.net.width
    return dataclasses.replace(counts, parameters=counts.parameters + rows, learning=counts.learning + rows)


@lru_cache(maxsize=32)
def _count(shape: tuple[int, int, int], parts: str, classes: int) -> Counts:
    config = TrainConfig.model_validate({"start_from": MODEL, **json.loads(parts)})
    names = tuple(map(str, range(classes)))
    augment = config.data.augment
    told = Augmenter(Augmentation(augment.probability, **augment.strengths), shape[0]).names
    spec = ModelSpec(shape, config.net, 0.5, names, (1,) * classes, config.process.denoiser, told)
    with torch.device("meta"):
        network = spec.network()
        tune(network, config.finetune)
        x, level = torch.zeros(1, *shape), torch.zeros(1)
        label = torch.zeros(1, dtype=torch.int64) if classes else None
        cond = Cond(label=label, augment=torch.zeros(1, len(told)) if told else None)
    return counted(network.train(), x, level, cond)


def counted(network: nn.Module, x: torch.Tensor, level: torch.Tensor, cond: Cond) -> Counts:
    """The numbers of a network, for one image that is run through it forward and backward, on any device.

    Attention is counted as two products and a softmax: fused kernels do the same operations, and torch counts not all of them.
    """
    learning, parameters = share_that_learns(network)
    own = {part.untyped_storage()._cdata for part in (*network.parameters(), *network.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}  # the storages live on here, so that no number comes twice

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = network(x, level, cond)
        forward = counter.get_total_flops()
        output.sum().backward()
        step = counter.get_total_flops()
    return Counts(
        parameters,
        learning,
        sum(parameter.requires_grad for parameter in network.parameters()),
        forward,
        step,
        sum(storage.nbytes() for number, storage in kept.items() if number not in own),
        tuple(output.shape[1:]),
    )


def fixed_bytes(counts: Counts) -> int:
    """Bytes of weights, gradients, AdamW's moments and step counters, and the moving average of what learns."""
    return FLOAT * (counts.parameters + 4 * counts.learning + counts.tensors)


@lru_cache(maxsize=32)
def signal_operations(shape: tuple[int, int, int], settings: StructureConfig) -> float:
    """Operations of the structure game for one image, counted on random images."""
    draws = torch.Generator().manual_seed(0)
    x0, x0_hat, g_dsm = (torch.randn(SIGNAL_BATCH, *shape, generator=draws) for _ in range(3))
    sigma = torch.rand(SIGNAL_BATCH, generator=draws) + 0.1
    with torch.random.fork_rng(devices=[]):
        encoder, _ = build_encoder(shape, settings)
    game = StructureGame(encoder, watchdog=None, fraction=settings.fraction, adversary=settings.adversary)
    with FlopCounterMode(display=False) as counter:
        game.play(x0, x0_hat, sigma, g_dsm)
    return counter.get_total_flops() / SIGNAL_BATCH
