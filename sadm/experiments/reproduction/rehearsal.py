"""A rehearsal of an experiment: the network of full size without numbers, then the whole job on generated images, made small."""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from sadm.core.config import build_config, merge
from sadm.core.errors import UserError
from sadm.core.optional import import_optional
from sadm.core.progress import Reporter, Silent
from sadm.core.seeds import derive_seed
from sadm.evaluation import Judge, RandomConvJudge, network_judges
from sadm.evaluation.features.inception import FILE, RELEASE
from sadm.experiments.planning.devices import Gpu
from sadm.experiments.planning.flops import count
from sadm.experiments.reproduction.images import write_like
from sadm.experiments.reproduction.plan import Plan, plan_for
from sadm.experiments.reproduction.running import RUN, Job, reproduce
from sadm.experiments.reproduction.targets import Target
from sadm.finetuning.folder import THROUGH_PEFT
from sadm.training.description import model_spec
from sadm.training.published import import_model
from sadm.training.spec import ModelSpec

SMALL: dict[str, Any] = {
    "train": {
        "device": "cpu",
        "data": {"held_out": 0.25},
        "optimiser": {"steps": 1, "batch": 8},
        "structure": {"encoder_steps": 1, "encoder_batch": 8},
        "sampling": {"steps": 2},
        "log": {"every": 1, "checkpoint_every": 1, "samples": 2},
    },
    "protocol": {"images": 6},
}
"""What is small in every rehearsal."""
START = {"resolution": 64, "start": {"classes": 10, "net": {"width": 384, "depth": 1, "heads": 6}}}
"""Of those that start from public weights: the least published width, whose heads are known, and latents of 8x8."""
SCRATCH = {"train": {"net": {"width": 32, "depth": 1, "heads": 2}}}
AT_ONCE = 4


@dataclasses.dataclass(frozen=True)
class Missing:
    """Something that the real job needs and this machine lacks.

    Attributes:
        name: of it.
        remedy: what to do.
        stops: whether the rehearsal can't go on without it.
    """

    name: str
    remedy: str
    stops: bool


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """What was tried.

    Attributes:
        name: of the experiment.
        arm: of it.
        plan: from the network of full size, forward and backward on the meta device.
        network: output of the full network for one image.
        result: what the small job stored; None where it could not be tried.
        small: in what the small job was smaller.
        missing: what this machine lacks for the real one.
        seconds: that it took.
    """

    name: str
    arm: str
    plan: Plan
    network: tuple[int, ...]
    result: dict[str, Any] | None
    small: dict[str, Any]
    missing: tuple[Missing, ...]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**dataclasses.asdict(self), "plan": self.plan.as_dict()}


def rehearse(
    name: str, target: Target, arm: str, reporter: Reporter | None = None, gpu: Gpu | None = None
) -> Rehearsal:
    """Tries an experiment: shapes at full size; then images, weights, one training step, samples and a score, all made small.

    Everything small goes through the functions of the real job, and lies in a temporary folder that vanishes.

    Raises:
        UserError: something fails that would fail in the real job.
    """
    shown, began = reporter or Silent(), time.monotonic()
    plan = plan_for(target, arm, gpu=gpu)
    plan = dataclasses.replace(
        plan, counts=count(target.latent_shape, target.config(arm), target.planned_classes, whole=True)
    )
    expected = _expected_output(target)
    if plan.counts.output != expected:
        raise UserError(f"{name}: the network gives {plan.counts.output} for an image, expected {expected}.")
    missing = missing_for(target, arm)
    result, small = None, reduced(target)
    if not any(item.stops for item in missing):
        with tempfile.TemporaryDirectory() as folder:
            result = try_small(name, target, arm, Path(folder), shown)
    facts = {
        "resolution": small.resolution,
        "net": small.config(arm).net.model_dump(include={"patch", "width", "depth", "heads"}),
        "starts": small.start is not None,
        "classes": len(small.images.examples),
        "steps": small.config(arm).optimiser.steps,
        "batch": small.config(arm).optimiser.batch,
    }
    return Rehearsal(name, arm, plan, expected, result, facts, missing, round(time.monotonic() - began, 1))


def missing_for(target: Target, arm: str) -> tuple[Missing, ...]:
    """What this machine lacks for an arm."""
    found = []
    if target.start is not None and importlib.util.find_spec("diffusers") is None:
        found.append(Missing("the package diffusers", "pip install 'sadm-diffusion[diffusers]'", True))
    if target.config(arm).finetune.method in THROUGH_PEFT and importlib.util.find_spec("peft") is None:
        found.append(Missing("the package peft", "pip install 'sadm-diffusion[finetune]'", True))
    if inception_file() is None:
        where = Path(torch.hub.get_dir()) / "checkpoints"
        found.append(
            Missing("FID's network", f"put {RELEASE}/{FILE} into {where}, or name it: --judge inception:FILE", False)
        )
    return tuple(found)


def inception_file() -> Path | None:
    """Where FID's network lies on this machine."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / FILE
    return path if path.is_file() else None


def reduced(target: Target) -> Target:
    """The same experiment with a small network, few pixels and one step."""
    values = merge(target.model_dump(mode="json", exclude_unset=True), SMALL)
    values = merge(values, SCRATCH if target.start is None else START)
    return build_config(Target, values, f"{target.title}, made small")


def try_small(name: str, target: Target, arm: str, folder: Path, reporter: Reporter | None = None) -> dict[str, Any]:
    """The whole job of an experiment, made small, in a folder.

    Returns:
        What `reproduce` stores.

    Raises:
        UserError: see `rehearse`.
    """
    small = reduced(target)
    data = write_like(small.images, folder / "images")
    model = None if small.start is None else str(small_weights(small, folder))
    job = Job(name, small, arm, str(data), model, _judge(), at_once=AT_ONCE)
    result = reproduce(job, folder / "out", reporter)
    spec = model_spec(folder / "out" / RUN)
    expected = len(small.images.examples)
    if len(spec.class_names) != expected:
        raise UserError(f"{name}: {expected} classes were written, and the trained model has {len(spec.class_names)}.")
    return result


def small_weights(small: Target, folder: Path) -> Path:
    """A checkpoint such as the public one, converted with an autoencoder, both small and with random weights."""
    start = small.start
    assert start is not None  # noqa: S101 - for the type checker
    names = tuple(map(str, range(start.classes)))
    spec = ModelSpec(small.latent_shape, start.net, 0.5, names, (1,) * start.classes, start.process)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, "rehearsal"))
        torch.save(spec.network().state_dict(), folder / start.file)
        autoencoder = _small_autoencoder(folder / start.autoencoder, start.channels, start.factor)
    import_model(folder / start.file, folder / "model", start.family, autoencoder)
    return folder / "model"


def _small_autoencoder(folder: Path, channels: int, factor: int) -> str:
    diffusers = import_optional("diffusers", "diffusers", "an autoencoder")
    levels = factor.bit_length()  # each level but the first halves the sides
    model = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(4,) * levels,
        norm_num_groups=2,
        latent_channels=channels,
        mid_block_add_attention=False,
    )
    model.save_pretrained(folder)
    return str(folder)


def _judge() -> Judge:
    """FID's network where it lies on this machine; nothing is downloaded."""
    path = inception_file()
    return RandomConvJudge(3) if path is None else network_judges((f"inception:{path}",), "cpu")[0]


def _expected_output(target: Target) -> tuple[int, int, int]:
    channels, height, width = target.latent_shape
    twice = target.start is not None and target.start.process.learned_variance
    return channels * (2 if twice else 1), height, width
