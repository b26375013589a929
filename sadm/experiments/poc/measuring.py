"""How fast a domain's trainings go on this machine: measured in as many processes at a time as will train."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path

import torch

from sadm.core.config import write_yaml
from sadm.core.devices import resolve_device, spent_seconds
from sadm.core.errors import UserError
from sadm.core.files import make_folder, read_json, write_json
from sadm.core.progress import Reporter, Silent
from sadm.evaluation import Evaluator
from sadm.experiments.config import CONTROL, CompareConfig
from sadm.experiments.cost import SLICE, ArmCost, measure_costs, read_costs
from sadm.experiments.devices import devices_for
from sadm.experiments.engine import evaluator_for
from sadm.experiments.jobs import Laboratory
from sadm.experiments.plan import GRID_IMAGES
from sadm.experiments.poc.plan import Speed, groups_of
from sadm.experiments.pool import Pool
from sadm.training.learner import Learner
from sadm.training.model_folder import Model
from sadm.training.signals import prepare_signals
from sadm.training.spec import spec_for

_DRAWN = 64
_WRITING = 3.0  # seconds, of report and pictures
_LEAST_RATIO = 1.0
_PROBED = 5  # steps
_BOTH_ARMS = 2.5  # plain steps that a step of each arm takes, about
LEAST_STEPS = 20
"""Fewest steps of each arm in a measurement of cost."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What was found out about a domain before it is trained on.

    Attributes:
        speed: how fast that goes.
        judged: held-out images that generated ones are compared with.
        cost_steps: steps of each arm in the measurement of cost.
    """

    speed: Speed
    judged: int
    cost_steps: int


def measure_speed(config: CompareConfig, folder: Path, seconds: float, reporter: Reporter) -> Measurement:
    """Measures a domain, and stores what its comparison needs to know of costs.

    Args:
        config: its comparison; seeds and number of steps do not matter.
        folder: of its comparison, which holds no run yet.
        seconds: that the measurement of cost may take, about; it has `config.cost_steps` steps at most, and `LEAST_STEPS` at
            least.
        reporter: told about progress.

    Raises:
        UserError: the images can't be trained on or judged.
        InterruptedRun: stopped by Ctrl-C or SIGTERM.
    """
    write_yaml(make_folder(folder) / config.FILE, config)
    devices = devices_for(config.train.device, config.jobs)
    jobs = [{"name": f"measuring {number}", "speed": number, "seconds": seconds} for number in range(len(devices))]
    start = time.monotonic()
    Pool(folder, devices, reporter).run(jobs, lambda name: [])
    elapsed = time.monotonic() - start
    found = [read_json(folder / _file(number)) for number in range(len(devices))]

    def mean(key: str) -> float:
        return sum(values[key] for values in found) / len(found)

    (cost,) = read_costs(folder).values()
    slower = mean("wall_over_spent")
    outside = max(0.0, elapsed - max(values["seconds"] for values in found))
    drawing, judging = mean("drawing"), mean("judging")
    judged = found[0]["group"]
    groups = groups_of(judged, config.groups)
    speed = Speed(
        batch=config.train.optimiser.batch,
        step=mean("step") * slower,
        step_ratio=cost.step_ratio,
        pretraining=cost.pretrain_cpu_seconds * slower,
        judging=drawing * judged * groups + judging * groups,
        start=outside + mean("preparing"),
        report=mean("preparing") + drawing * GRID_IMAGES * len(config.arms) + _WRITING,
    )
    return Measurement(speed, judged, found[0]["cost_steps"])


def measure_in_worker(laboratory: Laboratory, number: int, seconds: float) -> None:
    """The part of a worker; the first one's costs are those of the comparison."""
    config, start = laboratory.config, time.monotonic()
    assert isinstance(config, CompareConfig)  # noqa: S101 - nothing else asks for it
    config = config.model_copy(update={"cost_steps": affordable_steps(laboratory, config, seconds)})
    laboratory.config = config
    evaluator = evaluator_for(config, laboratory.split)
    preparing = time.monotonic() - start
    cost, slower = _costs(laboratory, config, number)
    drawing, judging = _judging(laboratory, evaluator)
    found = {
        "preparing": preparing,
        "step": cost.control_cpu_seconds_per_step,
        "wall_over_spent": slower,
        "drawing": drawing,
        "judging": judging,
        "group": evaluator.group,
        "cost_steps": config.cost_steps,
        "seconds": time.monotonic() - start - preparing,
    }
    write_json(laboratory.folder / _file(number), found)


def affordable_steps(laboratory: Laboratory, config: CompareConfig, seconds: float) -> int:
    """Steps of each arm that fit into some seconds, going by a few plain steps; a multiple of 5."""
    plain = config.arm_config(CONTROL, config.seeds[0])
    images = laboratory.split.train
    signals = prepare_signals(plain, images, Silent()).signals
    spec = spec_for(images, plain.net, plain.process, plain.data)
    with contextlib.closing(Learner(plain, images, spec, signals)) as learner:
        learner.advance()  # first calls are slow
        spent_seconds(learner.device)  # until it is finished
        start = time.monotonic()
        for _ in range(_PROBED):
            learner.advance()
        spent_seconds(learner.device)
        step = (time.monotonic() - start) / _PROBED
    count = int(seconds / (step * _BOTH_ARMS)) // SLICE * SLICE
    return min(config.cost_steps, max(LEAST_STEPS, count))


def _costs(laboratory: Laboratory, config: CompareConfig, number: int) -> tuple[ArmCost, float]:
    """Costs, and by how much the time that passed exceeds the processor's."""
    arm = next(arm for arm in config.arms if arm != CONTROL)
    device = resolve_device(laboratory.config.train.device)
    wall, spent = time.monotonic(), spent_seconds(device)
    if number == 0:
        laboratory.measure_costs([arm])
        cost = read_costs(laboratory.folder)[arm]
    else:
        cost = measure_costs(config, [arm], laboratory.split.train, Silent())[arm]
    wall, spent = time.monotonic() - wall, spent_seconds(device) - spent
    if not cost.steps_measured:
        raise UserError(f"'{arm}' diverged within its first steps on {config.train.data.source}.")
    return cost, max(_LEAST_RATIO, wall / spent)


def _judging(laboratory: Laboratory, evaluator: Evaluator) -> tuple[float, float]:
    """Seconds to draw one image, with a network as it begins, and to judge one group."""
    config = laboratory.config.train
    spec = spec_for(laboratory.split.train, config.net, config.process, config.data)
    device = resolve_device(config.device)
    model = Model(spec.build().to(device).eval(), spec, config.sampling, {}, device)
    count = min(_DRAWN, evaluator.group)
    model.sample_for_judging(2, 0, model.training_labels(2, 0), config.sampling)  # first calls are slow
    start = time.monotonic()
    model.sample_for_judging(count, 0, model.training_labels(count, 0), config.sampling)
    drawing = (time.monotonic() - start) / count
    some = laboratory.split.held_out.floats(torch.arange(evaluator.group))
    noise = (some + 0.1 * torch.randn(some.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)
    start = time.monotonic()
    evaluator.evaluate(noise)
    return drawing, time.monotonic() - start


def _file(number: int) -> str:
    return f"speed-{number}.json"
