"""Paired trainings at steps that are known beforehand: sabotage of the game, and many seeds of the default."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from benchmarks.common import RUNS, store, stored
from benchmarks.structure.noisy import write_noisy
from benchmarks.structure.regimes import ARMS, REPORT_SEEDS, SIDE
from benchmarks.structure.trainings import NAME, relative

NOISY = "noisy-fashion-mnist"
MORE_SEEDS = tuple(range(105, 120))


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Plain training and one other arm, pair by pair.

    Attributes:
        title: what it is.
        arm: which of `ARMS`.
        change: on top of the recipe, for both.
        seeds: paired.
        extends: the regime whose cost gives the arm's steps, and whose pairs are counted in; None = equal steps.
        noisy: train on Fashion-MNIST with a tenth of pure noise.
    """

    title: str
    arm: str = "sadm"
    change: dict[str, Any] = dataclasses.field(default_factory=dict)
    seeds: tuple[int, ...] = REPORT_SEEDS
    extends: str | None = None
    noisy: bool = False


PAIRS = {
    "Z": Pairs("20 seeds of the default at equal cost", arm="hidden", seeds=MORE_SEEDS, extends="B"),
    "S1": Pairs("encoder learning rate x100", change={"structure": {"learning_rate": 100 * 2e-5}}),
    "S2": Pairs("ratio at its cap", change={"structure": {"ratio": 0.99}}),
    "S3": Pairs("batch of 4", change={"optimiser": {"batch": 4}}),
    "S4": Pairs("a tenth of the images pure noise", noisy=True),
}


def run_pairs(name: str) -> None:
    """Trains what is missing and stores the row; resumable."""
    from sadm.core.progress import ConsoleReporter
    from sadm.evaluation import Evaluator
    from sadm.experiments.config import CONTROL, CompareConfig
    from sadm.training.config import load_train_config
    from sadm.training.run import split_for

    pairs, folder = PAIRS[name], RUNS / NAME / name
    train = load_train_config(f"fashion_mnist_{SIDE}", overrides={**pairs.change, "log": {"samples": 0}})
    if pairs.noisy:
        source = relative(write_noisy(RUNS / NAME / NOISY))
        train = train.model_copy(update={"data": train.data.model_copy(update={"source": source})})
    arms = {CONTROL: ARMS[CONTROL], pairs.arm: ARMS[pairs.arm]}
    config = CompareConfig(train=train, arms=arms, seeds=[*pairs.seeds], groups=1)
    whole = train.optimiser.steps
    own = whole if pairs.extends is None else stored(NAME, pairs.extends)["steps"][pairs.arm]
    with ConsoleReporter() as reporter:
        train_all(config, folder, {CONTROL: whole, pairs.arm: own}, reporter)
    floor = Evaluator(split_for(train).held_out).floor
    store(NAME, name, row(name, folder, {CONTROL: whole, pairs.arm: own}, floor))


def train_all(config: Any, folder: Path, steps: dict[str, int], reporter: Any) -> None:
    """Trains and judges each arm with each seed, two at a time, as a comparison does."""
    from sadm.core.config import write_yaml
    from sadm.core.files import make_folder
    from sadm.experiments.compare import CONFIG
    from sadm.experiments.plan import RunJob
    from sadm.experiments.pool import Pool

    write_yaml(make_folder(folder) / CONFIG, config)
    jobs = [RunJob(arm, seed, count) for seed in config.seeds for arm, count in steps.items()]
    missing = [{"name": job.name, "run": vars(job)} for job in jobs if not job.is_complete(folder, config)]
    Pool(folder, config.jobs, reporter).run(missing, lambda name: [])


def row(name: str, folder: Path, steps: dict[str, int], floor: dict[str, float]) -> dict[str, Any]:
    """What is kept: by judge the FD of both arms and their ratio pair by pair; what the watchdog did; divergence."""
    from sadm.core.provenance import provenance
    from sadm.experiments.runs import Runs
    from sadm.experiments.statistics import paired_ratio

    pairs = PAIRS[name]
    found = {arm: Runs.read(folder, arm, pairs.seeds, count) for arm, count in steps.items()}
    control, treated = found.values()
    diverged = {arm: runs.diverged for arm, runs in found.items()}
    judges = {}
    for judge in floor if not any(diverged.values()) else ():
        excess = [
            [result["evaluation"]["fd"][judge] - floor[judge] for result in runs.results] for runs in (treated, control)
        ]
        if pairs.extends is not None:
            ratios = stored(NAME, pairs.extends)["ratios"]["equal_cost"][pairs.arm][judge]["values"]
            excess = [[*ratios, *excess[0]], [1.0] * len(ratios) + excess[1]]
        judges[judge] = paired_ratio(*excess).as_dict()
    return {
        "name": name,
        "title": pairs.title,
        "arm": pairs.arm,
        "seeds": [*(stored(NAME, pairs.extends)["seeds"] if pairs.extends else ()), *pairs.seeds],
        "steps": steps,
        "ratios": judges,
        "events": [watchdog_events(job.folder(folder)) for job in treated.jobs],
        "diverged": diverged,
        "provenance": provenance(),
    }


def watchdog_events(run: Path) -> int | None:
    """How often the watchdog acted in a run; None without one."""
    from sadm.training.journal import read_metrics

    counts = [line["events"] for line in read_metrics(run) if "events" in line]
    return int(max(counts)) if counts else None
