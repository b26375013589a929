"""``sadm plan``."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from sadm.cli.options import network_defaults, parse, take
from sadm.core.config import build_config
from sadm.core.errors import UserError
from sadm.core.progress import ConsoleReporter
from sadm.experiments.planning.devices import DEVICES, HERE, NVLINK, Device, Gpu, device_named
from sadm.experiments.planning.failures import DEVICE_MTBF_HOURS, RESTART_SECONDS, STORAGE_GBYTES
from sadm.experiments.planning.network import NETWORK_GBYTES, Cluster
from sadm.experiments.planning.parallel import local_batch
from sadm.experiments.planning.subject import Base, base_for, subject_of
from sadm.training.config import TrainConfig, recipe_names
from sadm.training.net_config import merge_training

if TYPE_CHECKING:
    from sadm.experiments.planning.calibration import Calibration
    from sadm.experiments.planning.plan import Plan
    from sadm.experiments.planning.subject import Subject

DESCRIPTION = """What a training would take: parameters, operations, memory by part, hours, money, checkpoints, traffic.
Nothing is trained, but for half a minute with --calibrate. docs/plan.md has the formulas and what they assume.

  --recipe NAME     {recipes};
                    an experiment of `sadm reproduce`, such as food101; or a published network on ImageNet,
                    imagenet256_dit_xl2 (256 or 512; s, b, l or xl; patch 2, 4 or 8)
  --config FILE     a YAML file on top of it, or alone, such as the config.yaml of a run
  --arm NAME        what to train of an experiment

examples:
  sadm plan --recipe imagenet256_dit_xl2 --device h100 --count 8
  sadm plan --recipe imagenet256_dit_xl2 --device h100 --count 64 --train.parallel.precision bfloat16 --price 2.5 --currency USD
  sadm plan --recipe food101 --arm difffit --device a100
  sadm plan --recipe digits --calibrate
  sadm plan --recipe folder32 --device l4 --train.optimiser.batch 256 --json
"""


@dataclasses.dataclass(frozen=True)
class PlanOptions:
    """Options of ``sadm plan``."""

    device: str = "a100"
    """What to plan for; see docs/plan.md. here = this machine, with --calibrate."""
    count: int = 1
    """How many devices."""
    per_machine: int = NVLINK
    """Devices in a machine."""
    calibrate: bool = False
    """Measure this machine on smaller versions of the same network, for half a minute, and plan for it."""
    share: float | None = None
    """Share of the peak that is reached; None = one half."""
    tflops: float | None = None
    """Peak of the device in this precision; None = as its data sheet says."""
    gpu_memory: float | None = None
    """Its memory in GiB; None likewise."""
    link: float | None = None
    """GB/s in one direction to devices of the same machine; None likewise."""
    network: float = NETWORK_GBYTES
    """GB/s in one direction that each device has to other machines."""
    storage: float = STORAGE_GBYTES
    """GB/s at which all devices together write a checkpoint."""
    mtbf: float = DEVICE_MTBF_HOURS
    """Hours between failures of one device."""
    restart: float = RESTART_SECONDS
    """Seconds that a restart takes."""
    price: float | None = None
    """Of an hour of a device; None = no money."""
    currency: str = ""
    """Of the price."""
    shape: tuple[int, int, int] | None = None
    """Channels, height and width of an image or latent, where the data don't say."""
    classes: int | None = None
    """Classes, where the data don't say."""
    json: bool = False
    """Print JSON."""
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    """The training."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, counts or measures, and prints the plan."""
    (recipe, file, arm), rest = take(arguments, "recipe", "config", "arm")
    base = base_for(recipe, file, arm)
    asked = network_defaults(rest, "train.")
    if asked:
        values = merge_training(base.config.model_dump(mode="json"), asked)
        base = dataclasses.replace(base, config=build_config(TrainConfig, values, "configuration"))
    defaults = PlanOptions(train=base.config)
    description = DESCRIPTION.format(recipes=", ".join(recipe_names()))
    options: PlanOptions = parse(PlanOptions, rest, "plan", description, defaults)
    found = _planned(options, base)
    if options.json:
        facts = found.as_dict()
        facts["money"] = None if options.price is None else found.hours.price(options.price)
        print(json.dumps({**facts, "currency": options.currency}, indent=1))
        return
    from sadm.experiments.planning.table import lines_of

    print("\n".join(lines_of(found, options.price, options.currency)))


def _planned(options: PlanOptions, base: Base) -> Plan:
    device = _checked(options)
    parallel = options.train.parallel
    local = local_batch(parallel, options.train.optimiser.batch, options.count)
    subject = subject_of(base, options.train, options.shape, options.classes)
    from sadm.experiments.planning.plan import Rates, plan

    rates = Rates(options.mtbf, options.storage, options.restart)
    if device is None:
        measured, gpu = _measured(options, subject, local)
        link = options.network if options.link is None else options.link
        return plan(
            subject, gpu, Cluster(options.count, options.per_machine, link, options.network), parallel, rates, measured
        )
    gpu = device.gpu(parallel.precision, options.share or Gpu.share)
    gpu = dataclasses.replace(gpu, tflops=options.tflops or gpu.tflops, gib=options.gpu_memory or gpu.gib)
    cluster = Cluster(options.count, options.per_machine, options.link or device.link, options.network)
    return plan(subject, gpu, cluster, parallel, rates)


def _checked(options: PlanOptions) -> Device | None:
    """The device; None = this machine.

    Raises:
        UserError: an option out of its range, or options that contradict each other.
    """
    for name in (
        "share",
        "tflops",
        "gpu_memory",
        "link",
        "network",
        "storage",
        "mtbf",
        "restart",
        "price",
        "per_machine",
    ):
        value = getattr(options, name)
        if value is not None and (value <= 0 or (name == "share" and value > 1)):
            expected = "a number above 0 and at most 1" if name == "share" else "a number above 0"
            raise UserError(f"--{name.replace('_', '-')} is {value}; expected {expected}.")
    if options.price is not None and not options.currency.strip():
        raise UserError("--price needs --currency, such as EUR.")
    if options.classes is not None and options.classes < 0:
        raise UserError(f"--classes is {options.classes}; expected 0 (none) or more.")
    if options.shape is not None and min(options.shape) < 1:
        raise UserError(f"--shape is {options.shape}; expected channels, height and width of at least 1.")
    if options.calibrate:
        if options.device not in (HERE, PlanOptions.device):
            raise UserError(
                f"--calibrate measures this machine, and --device is {options.device}. Leave one of them out, or give --device "
                f"{HERE}."
            )
        if options.train.parallel.recompute or options.train.parallel.precision != "float32":
            raise UserError(
                "--calibrate measures training as it is here: --train.parallel.precision float32, no --train.parallel.recompute."
            )
        return None
    if options.device == HERE:
        raise UserError(
            f"--device {HERE} is measured: give --calibrate, too. Known by their data sheets: {', '.join(DEVICES)}."
        )
    return device_named(options.device)


def _measured(options: PlanOptions, subject: Subject, local: int) -> tuple[Calibration, Gpu]:
    from sadm.experiments.planning.calibration import calibrate, machine

    with ConsoleReporter() as reporter:
        found = calibrate(subject, local, device=options.train.device, reporter=reporter)
    return found, machine(found, subject, local)
