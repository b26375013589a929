"""What comparisons and sweeps share: one scheduler, one way to check a folder and its images, one clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from sadm.core.config import build_config, read_yaml
from sadm.core.errors import UserError
from sadm.core.files import read_json, refuse_foreign_folder, write_json
from sadm.core.progress import Reporter
from sadm.data import Split
from sadm.evaluation import Evaluator, HeldOutParts, network_judges
from sadm.evaluation.downstream import check
from sadm.evaluation.memorisation import check_sets
from sadm.experiments.config import Experiment, Kept
from sadm.experiments.devices import devices_for
from sadm.experiments.plan import LATENTS, RunJob
from sadm.experiments.pool import Pool
from sadm.training.training_set import check_sizes, training_set

CLOCK = "minutes.json"
_MINUTES, _PROCESSOR_MINUTES = "minutes", "processor_minutes"
FEW = 50
PATIENCE = 10.0
"""Seconds that an experiment waits for the workers of one that was killed in its folder, which are saving."""

E = TypeVar("E", bound=Kept)


def run_jobs(
    config: Experiment,
    folder: Path,
    split: Split,
    reporter: Reporter,
    planned: Callable[[], list[RunJob]],
    expected: Callable[[], int],
    first: Sequence[dict[str, Any]] = (),
    after: Callable[[str], None] = lambda name: None,
) -> None:
    """Carries out what is missing of a plan that may grow with the results.

    Args:
        config: what is run.
        folder: where results are kept.
        split: the images.
        reporter: told about progress.
        planned: all runs that are known by now; asked again whenever one has finished.
        expected: tells about how many runs there will be.
        first: jobs before the runs.
        after: called with the name of every job that has finished.

    Raises:
        InterruptedRun: stopped by Ctrl-C or SIGTERM, after saving.
        UserError: a run failed.
    """
    started: set[str] = set()

    def unfinished() -> list[dict[str, Any]]:
        jobs = [job for job in planned() if job.name not in started and not job.is_complete(folder, config)]
        started.update(job.name for job in jobs)
        return [{"name": job.name, "run": vars(job)} for job in jobs]

    def finished(name: str) -> list[dict[str, Any]]:
        done = sum(job.is_complete(folder, config) for job in planned())
        reporter.update("runs", done, max(expected(), done))
        after(name)
        return unfinished()

    jobs = [*first, *unfinished()]
    if jobs:
        training_set(config.train, split.train, folder / LATENTS, reporter)  # images are encoded once, for all runs
    Pool(folder, devices_for(config.train.device, config.jobs), reporter).run(jobs, finished)


def check_split(config: Experiment, split: Split, reporter: Reporter) -> None:
    """Refuses what can't be judged or built before anything is written.

    Raises:
        UserError: too few images, classes asked for where there are none, an unusable judge, a network that does not fit.
    """
    _check_defects(config, split)
    parts = HeldOutParts.of(split.held_out)
    if len(parts.reference) < FEW:
        reporter.say(
            f"Only {len(parts.reference)} held-out images serve as reference: expect wide intervals. "
            "More images, or a larger --train.data.held-out, make the judges surer."
        )
    if config.per_class and split.train.labels is None:
        raise UserError(
            f"{config.train.data.source} has no classes, so nothing can be judged class by class. Leave out --per-class, or "
            "give a folder with one folder for each class."
        )
    if config.audit:
        check_sets(split.train, split.held_out)
    if config.downstream or config.representation:
        check(split.train, parts.floor)
    for judge in network_judges(config.judges, config.train.device):
        judge.features(split.held_out.subset(torch.arange(1)))  # refused now, not after the first training
    for arm in config.changes:
        check_sizes(config.arm_config(arm, config.seeds[0]), split.train)


def _check_defects(config: Experiment, split: Split) -> None:
    """Refuses a class of defects that the images do not have."""
    defects, names = config.business.defect_class, split.train.class_names
    if defects is not None and defects not in names:
        raise UserError(
            f"business.defect_class: '{defects}' is no class of {config.train.data.source}; "
            + (f"its classes are {', '.join(names)}." if names else "it has no classes.")
        )


def evaluator_for(config: Experiment, split: Split) -> Evaluator:
    """The judges of an experiment, fitted on its held-out images."""
    return Evaluator(split.held_out, network_judges(config.judges, config.train.device))


def stored_config(folder: Path, kind: type[E]) -> E | None:
    """The configuration that a folder was begun with; None where it is new.

    Raises:
        UserError: the folder holds something else.
    """
    refuse_foreign_folder(folder, kind.FILE, kind.KIND, ignoring=(".lock",))
    path = folder / kind.FILE
    return build_config(kind, read_yaml(path), str(path)) if path.exists() else None


def refuse_changes(folder: Path, kind: str, changed: Sequence[str]) -> None:
    """Refuses to go on in a folder with other settings than it was begun with.

    Raises:
        UserError: something changed.
    """
    if changed:
        raise UserError(
            f"{folder} holds another {kind} ({'; '.join(changed)}). Choose another --out, or give the stored values."
        )


@contextmanager
def clock(folder: Path, processes: int) -> Iterator[None]:
    """Adds up the minutes of all sessions, and what they come to over the processes of each.

    Args:
        folder: where they are kept. What was begun before processes were counted stays without that sum.
        processes: of this session.
    """
    path = folder / CLOCK
    spent = read_json(path) if path.exists() else {_MINUTES: 0.0, _PROCESSOR_MINUTES: 0.0}
    start = time.monotonic()
    try:
        yield
    finally:
        minutes = (time.monotonic() - start) / 60
        further = {_MINUTES: minutes, _PROCESSOR_MINUTES: minutes * processes}
        write_json(path, {key: round(before + further[key], 3) for key, before in spent.items()})


def minutes_in(folder: Path) -> float:
    """Minutes that all sessions took together."""
    minutes: float = read_json(folder / CLOCK)[_MINUTES]
    return minutes


def processor_minutes_in(folder: Path) -> float | None:
    """The minutes of each session times its processes, of all together; None where they were not counted from the beginning."""
    minutes: float | None = read_json(folder / CLOCK).get(_PROCESSOR_MINUTES)
    return minutes
