"""How fast this machine is, from half a minute of training on smaller versions of the very network that is planned.

A transformer that is small enough is measured as it is. A larger one of L blocks takes as long for a step as the line through two
shallower ones says, since its blocks are alike; a UNet as long as the line through two smaller batches. What the training signal
adds is measured on one block. All versions run in turn, in short slices, so that a slow moment hurts all alike; the first step of
a turn is not timed, since it finds the caches full of another version's numbers. Processor time on a CPU, elapsed time elsewhere.

Memory: a shallow version trains in a process of its own, and what that process grows by, over what is counted for it, is the
factor by which an allocator takes more than tensors need.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sadm.core.config import merge
from sadm.core.devices import resolve_device, spent_seconds
from sadm.core.errors import UserError
from sadm.core.progress import Reporter, Silent
from sadm.core.provenance import peak_memory_mib
from sadm.experiments.cost import mean_undisturbed
from sadm.experiments.planning.devices import Gpu
from sadm.experiments.planning.flops import count, network_keys, network_of, taking_part
from sadm.experiments.planning.memory import kept, memory
from sadm.experiments.planning.signals import probe_config, random_images, signal_cost
from sadm.experiments.planning.subject import BUILT_IN, Subject
from sadm.training.config import OptimiserConfig, TrainConfig
from sadm.training.learner import Learner
from sadm.training.optimisers import block_matrices, build_optimiser, sides_of
from sadm.training.parallel_config import ParallelConfig
from sadm.training.signals import prepare_signals
from sadm.training.spec import spec_for

SECONDS = 30.0
SLICE = 0.4
"""Seconds of a turn, at least."""
WARM = 3
"""Steps from which the length of a turn is found, not timed otherwise, since first ones are slow."""
STEP_GFLOP = 40.0
"""Operations of a step that is tried; where network and batch make more, fewer blocks and images are tried, and the rest is
extrapolated."""
ENCODER_STEPS = 4
TOGETHER = 4
"""Matrices of one size that Muon's cost is measured on."""
CACHED = ("hidden", "repa")
"""Signals that keep what a frozen encoder sees in an image, as long as its pixels stay as they are."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What was measured on this machine, for one training.

    Attributes:
        device: the kind of device.
        step_seconds: of a step without the signal, extrapolated to the whole network and batch.
        signal_seconds: that a step with the signal takes longer.
        cached_seconds: the same where an encoder's features of all images are kept already.
        pretrain_seconds: of one step of the encoder's training; 0 without.
        base_mib: memory of a process before its network is there, built-in images among it; None on an accelerator.
        allocator: memory that was taken over what tensors need.
        measured: seconds of a step of each version that was tried.
        batch: images that were tried with.
    """

    device: str
    step_seconds: float
    signal_seconds: float
    cached_seconds: float
    pretrain_seconds: float
    base_mib: float | None
    allocator: float
    measured: dict[str, float]
    batch: int

    def mean_step(self, subject: Subject) -> float:
        """Seconds of a step, on average over the schedule of a training."""
        config = subject.config
        share, fresh = taking_part(config), 1.0
        if _keeps_features(config) and subject.images is not None:
            plays = max(1.0, share * config.optimiser.steps)
            fresh = min(1.0, subject.images / (plays * config.optimiser.batch))
        return self.step_seconds + share * (fresh * self.signal_seconds + (1 - fresh) * self.cached_seconds)


def calibrate(
    subject: Subject,
    batch: int | None = None,
    seconds: float = SECONDS,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Calibration:
    """Measures this machine for a training.

    Args:
        subject: what is planned.
        batch: images of a micro-batch; None = of the configuration.
        seconds: that the timed part may take; the rest takes about ten more.
        device: where.
        reporter: told about progress.

    Raises:
        UserError: there is no such device, or a network that can't be tried.
    """
    shown, where = reporter or Silent(), resolve_device(device)
    wanted = batch or subject.config.optimiser.batch
    probes = _probes(subject, wanted, str(where))
    learners = {name: _learner(config, subject, name) for name, config in probes.items()}
    measured = _timed(learners, where, seconds, shown)
    config = subject.config
    step, tried = _extrapolated(config, measured, probes, wanted)
    step += _muon_seconds(subject, where)
    scale = wanted / tried
    signal = max(0.0, measured["fresh"] - measured["less"]) * scale if "fresh" in measured else 0.0
    cached = max(0.0, measured["cached"] - measured["less"]) * scale if "cached" in measured else signal
    base, factor = _process_memory(subject, wanted) if where.type == "cpu" else (None, 1.0)
    return Calibration(str(where), step, signal, cached, _pretraining(subject, where), base, factor, measured, tried)


def machine(found: Calibration, subject: Subject, batch: int) -> Gpu:
    """This machine as what hours are counted for: operations a second of a plain step, and its memory.

    Args:
        found: what was measured.
        subject: for which training.
        batch: images of the micro-batch that was measured.
    """
    device = torch.device(found.device)
    counts = count(subject.shape, subject.config, subject.classes)
    tflops = (batch * counts.step + counts.optimiser) / found.step_seconds / 1e12
    if device.type == "cpu":
        return Gpu("this machine", tflops, total_mib() / 1024, 1.0)
    return Gpu("this machine", tflops, torch.accelerator.get_memory_info(device)[1] / 2**30, 1.0)


def _keeps_features(config: TrainConfig) -> bool:
    changes = config.data.flip or any(config.data.augment.strengths.values()) or config.data.fit == "random-crop"
    return config.signal in CACHED and not changes


def _probes(subject: Subject, batch: int, device: str) -> dict[str, TrainConfig]:
    """Configurations to try, by what they are for: two sizes without the signal, and one with it, fresh and cached."""
    config = subject.config
    if config.net.kind == "dit":
        operations = count(subject.shape, config, subject.classes).step
        most, deepest = STEP_GFLOP * 1e9, max(2, config.net.depth)
        blocks = (1, deepest if batch * operations <= most else min(3, deepest))
        images = max(2, min(batch, int(most / (operations * blocks[1] / config.net.depth))))
        sizes = [{"net": {"depth": depth}, "optimiser": {"batch": images}} for depth in blocks]
    else:
        sizes = [{"optimiser": {"batch": max(2, batch // part)}} for part in (4, 2)]
    always = {
        "structure": {"warmup": 0.0, "end": 1.0, "every": 1, "encoder_steps": 0},
        "optimiser": {"kind": "adamw"},  # what Muon takes more depends on no batch, and is measured apart
        "device": device,
    }
    sizes = [merge(size, always) for size in sizes]
    plain = [probe_config(config, **size, signal="none") for size in sizes]
    found = {"less": plain[0], "more": plain[1]}
    if config.signal not in ("none", "anchor"):
        control = {"control": {"start": 0.0, "tap": None}}
        own = probe_config(config, **sizes[0], **control)
        # Mirror images are new pixels each time, of which no features are kept.
        found["fresh"] = probe_config(own, data={"flip": True}) if _keeps_features(config) else own
        if _keeps_features(config):
            found["cached"] = own
    return found


def _learner(config: TrainConfig, subject: Subject, name: str) -> Learner:
    batch = config.optimiser.batch
    images = random_images(subject.shape, subject.classes, batch if name == "cached" else 4 * batch)
    signals = prepare_signals(config, images, Silent()).signals
    return Learner(config, images, spec_for(images, config.net, config.process, config.data), signals)


def _timed(learners: dict[str, Learner], device: torch.device, seconds: float, reporter: Reporter) -> dict[str, float]:
    """Seconds of a step of each, from slices in turn."""
    steps = {
        name: max(1, round(SLICE / max(_slice(learner, WARM, device), 1e-6))) for name, learner in learners.items()
    }
    found: dict[str, list[float]] = {name: [] for name in learners}
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < seconds or min(map(len, found.values())) < 3:
        for name, learner in learners.items():
            found[name].append(_slice(learner, steps[name], device))
        reporter.update("measuring this machine", min(round(passed), round(seconds)), round(seconds))
    return {name: mean_undisturbed(slices) for name, slices in found.items()}


def _slice(learner: Learner, steps: int, device: torch.device) -> float:
    learner.advance()
    start = spent_seconds(device)
    for _ in range(steps):
        learner.advance()
    return (spent_seconds(device) - start) / steps


def _extrapolated(
    config: TrainConfig, measured: dict[str, float], probes: dict[str, TrainConfig], batch: int
) -> tuple[float, int]:
    """Seconds of a plain step of the whole network and batch, and images that the signal was tried with."""
    less, more = probes["less"], probes["more"]
    slope = measured["more"] - measured["less"]
    tried = less.optimiser.batch
    if config.net.kind == "dit":
        step = measured["less"] + slope * (config.net.depth - less.net.depth) / (more.net.depth - less.net.depth)
        return step * batch / tried, tried
    if more.optimiser.batch == tried:
        return measured["less"], tried
    return measured["less"] + slope * (batch - tried) / (more.optimiser.batch - tried), tried


def _muon_seconds(subject: Subject, device: torch.device) -> float:
    """Seconds that Muon takes longer for a step than AdamW, from a few matrices of each size that the network's blocks have."""
    config = subject.config
    if config.optimiser.kind != "muon":
        return 0.0
    with torch.device("meta"):
        network = network_of(subject.shape, network_keys(config), 1)[0]
    sizes = Counter(map(sides_of, block_matrices(network)))
    return sum(max(0.0, _longer(size, count, config.optimiser, device)) for size, count in sizes.items())


def _longer(size: tuple[int, int], count: int, config: OptimiserConfig, device: torch.device) -> float:
    """Seconds of a step of Muon on so many matrices of a size, less those of AdamW; from a few of them, since they may be taken
    together."""
    taken, few = {}, min(count, TOGETHER)
    for kind in ("muon", "adamw"):
        layers = [nn.Linear(size[1], size[0], bias=False, device=device) for _ in range(few)]
        holder = nn.ModuleDict({"blocks": nn.ModuleList(layers)})
        for matrix in holder.parameters():
            matrix.grad = torch.ones_like(matrix)
        optimiser = build_optimiser(holder, config.model_copy(update={"kind": kind}))
        optimiser.step()
        start = spent_seconds(device)
        for _ in range(WARM):
            optimiser.step()
        taken[kind] = (spent_seconds(device) - start) / WARM
    return (taken["muon"] - taken["adamw"]) * count / few


def _pretraining(subject: Subject, device: torch.device) -> float:
    """Seconds of a step of the structure encoder's training."""
    config = subject.config
    needs_none = config.signal in ("none", "dispersive", "contrastive", "anchor") or config.sees_with_source
    if needs_none or not config.structure.encoder_steps:
        return 0.0
    images = random_images(subject.shape, subject.classes, 2 * config.structure.encoder_batch)
    sizes = {"net": {"depth": 1}} if config.net.kind == "dit" else {}
    taken = [
        prepare_signals(
            probe_config(config, **sizes, structure={"encoder_steps": steps}, device=str(device)), images, Silent()
        ).pretrain_cpu_seconds
        for steps in (1, 1 + ENCODER_STEPS)
    ]
    return max(0.0, taken[1] - taken[0]) / ENCODER_STEPS


def _process_memory(subject: Subject, batch: int) -> tuple[float, float]:
    """Memory of a process before a network is there, in MiB, and what it took over what was counted."""
    config = subject.config
    sizes: dict[str, Any] = {"optimiser": {"batch": batch}}
    if config.net.kind == "dit":
        sizes["net"] = {"depth": min(2, config.net.depth)}
    small = probe_config(config, **sizes, device="cpu")
    if counted_mib(subject, small) > total_mib() / 4:
        return resident_mib(), 1.0
    found = measured_apart(subject, small)
    return found["base_mib"], max(1.0, (found["peak_mib"] - found["base_mib"]) / counted_mib(subject, small))


def counted_mib(subject: Subject, config: TrainConfig) -> float:
    """What is counted for a training on one device, in MiB."""
    shape, batch = subject.shape, config.optimiser.batch
    counts = count(shape, config, subject.classes)
    signal = signal_cost(shape, config, subject.classes, counts)
    held = kept(shape, config, batch)
    return memory(shape, counts, held, signal, ParallelConfig(), (batch, batch)).total / 2**20


def measured_apart(subject: Subject, config: TrainConfig) -> dict[str, float]:
    """Memory of a process of its own that trains for a few steps on random images: `base_mib` before, and `peak_mib`."""
    facts = {
        "config": config.model_dump(mode="json"),
        "shape": subject.shape,
        "classes": subject.classes,
    }
    command = [sys.executable, "-m", "sadm.experiments.planning.calibration"]
    done = subprocess.run(command, input=json.dumps(facts), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise UserError(
            f"this machine can't be measured: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
        )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def grown(work: Callable[[], Any], before: Callable[[], Any]) -> dict[str, float]:
    """Memory of this process after `before`, whose result is held on to, and the most that `work` brought it to."""
    held = before()
    base = resident_mib()
    work()
    del held
    return {"base_mib": base, "peak_mib": peak_memory_mib()}


def resident_mib() -> float:
    """Memory of this process now; where the system doesn't say, the most that it had."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text("utf-8").splitlines() if ":" in line)
        return int(fields["VmRSS"].split()[0]) / 1024
    return peak_memory_mib()


def total_mib() -> float:
    """Main memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20


def few_steps(config: TrainConfig, shape: tuple[int, int, int], classes: int, steps: int = WARM) -> None:
    """Trains for a few steps on random images."""
    images = random_images(shape, classes, 2 * config.optimiser.batch)
    signals = prepare_signals(config, images, Silent()).signals
    learner = Learner(config, images, spec_for(images, config.net, config.process, config.data), signals)
    for _ in range(steps):
        learner.advance()


def smallest(config: TrainConfig) -> TrainConfig:
    """A tiny version of a training, after which a process has loaded what it needs."""
    net = {"depth": 1, "width": 32, "heads": 2} if config.net.kind == "dit" else {}
    return probe_config(config, net=net, optimiser={"batch": 2})


def main() -> None:
    """What `measured_apart` starts."""
    facts = json.loads(sys.stdin.read())
    torch.set_num_threads(1)
    config, shape = TrainConfig.model_validate(facts["config"]), tuple(facts["shape"])
    found = grown(
        lambda: few_steps(config, shape, facts["classes"]),
        lambda: _as_a_training_begins(config, shape, facts["classes"]),
    )
    print(json.dumps(found))


def _as_a_training_begins(config: TrainConfig, shape: tuple[int, int, int], classes: int) -> Any:
    """Loads what a training loads, a built-in set of images among it, and trains a tiny network; returns what stays."""
    from sadm.training.run import split_for

    images = split_for(config) if config.data.source in BUILT_IN else None
    few_steps(smallest(config), shape, classes)
    return images


if __name__ == "__main__":
    main()
