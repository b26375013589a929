"""The engine behind ``sadm sweep``: a grid of settings × seeds after equal steps, resumable run by run."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sadm.core.config import differences, write_yaml
from sadm.core.errors import UserError
from sadm.core.files import locked, make_folder, remove_leftovers, write_json
from sadm.core.progress import Reporter, Silent
from sadm.data import Split
from sadm.evaluation import Evaluator
from sadm.experiments.devices import at_a_time
from sadm.experiments.engine import (
    PATIENCE,
    check_split,
    clock,
    evaluator_for,
    minutes_in,
    refuse_changes,
    run_jobs,
    stored_config,
)
from sadm.experiments.images import IMAGES, checked_fingerprints
from sadm.experiments.plan import RunJob
from sadm.experiments.sweep.config import NOTHING_VARIES, SweepConfig
from sadm.experiments.sweep.plan import expected_work, rungs
from sadm.experiments.sweep.summary import summarise_sweep, write_sweep
from sadm.experiments.yardstick import Yardstick
from sadm.training.run import split_for

MAY_CHANGE = (
    "vary.", "seeds", "judges", "baseline", "early_stop", "keep", "jobs", "lang",
    "train.log.", "train.data.workers", "train.data.latents", "business.",
)  # fmt: skip


def sweep(config: SweepConfig, out: str | Path, reporter: Reporter | None = None) -> dict[str, Any]:
    """Runs a sweep, or what is left of it, and writes ``sweep.json``, ``sweep.html`` and ``confirm.yaml``.

    Args:
        config: what varies. Values, seeds, judges and early stops may be added to a finished sweep, and prices changed; only what
            is missing is trained and judged.
        out: its folder.
        reporter: where progress is shown; None = nowhere.

    Returns:
        The content of ``sweep.json``.

    Raises:
        UserError: bad data or configuration, another sweep or other images in the folder, a full disk.
        InterruptedRun: stopped by Ctrl-C or SIGTERM, after saving.
    """
    if not config.vary:
        raise UserError(NOTHING_VARIES)
    folder, shown = Path(out), reporter or Silent()
    _check_folder(folder, config)
    split = split_for(config.train, shown)
    check_split(config, split, shown)
    fingerprints = checked_fingerprints(folder, config.KIND, split)
    evaluator = functools.cache(lambda: evaluator_for(config, split))
    with locked(make_folder(folder), "sweeping", PATIENCE):
        remove_leftovers(folder, below=True)
        with clock(folder, at_a_time(config.train.device, config.jobs)):
            write_yaml(folder / config.FILE, config)
            write_json(folder / IMAGES, fingerprints)
            _run_jobs(config, folder, split, shown, evaluator)
            found = summarise_sweep(config, folder, split, evaluator())
        found["minutes_total"] = minutes_in(folder)
        write_sweep(config, folder, found)
    return found


def _run_jobs(
    config: SweepConfig, folder: Path, split: Split, reporter: Reporter, evaluator: Callable[[], Evaluator]
) -> None:
    yardstick = Yardstick.of(evaluator()) if config.early_stop else None
    told: set[float] = set()

    def planned() -> list[RunJob]:
        known = rungs(config, folder, yardstick)
        for rung in known:
            if rung.ranked and rung.share not in told:
                told.add(rung.share)
                reporter.say(
                    f"After {rung.steps} steps {len(rung.stopped)} of {len(rung.settings)} settings were stopped: "
                    f"{'; '.join(f'{name} ({why})' for name, why in rung.stopped.items()) or 'none'}."
                )
        return [job for rung in known for job in rung.jobs(config.seeds)]

    expected = sum(runs for runs, _ in expected_work(config))
    done = [job for job in planned() if job.is_complete(folder, config)]
    reporter.say(
        f"{len(config.settings)} settings, {len(config.seeds)} seeds: {'at most ' if config.early_stop else ''}{expected} "
        f"trainings, {at_a_time(config.train.device, config.jobs)} at a time; {expected - len(done)} are left."
    )
    work = sum(runs * share for runs, share in expected_work(config))
    whole = len(config.settings) * len(config.seeds)
    if config.early_stop and work >= whole:
        reporter.say(
            f"With {len(config.settings)} settings these early stops may save nothing: all rungs together come to {work:.4g} "
            f"whole trainings, no early stop to {whole}. Leave them out, or lower --keep."
        )
    after = _Estimate(config, done, reporter)
    run_jobs(config, folder, split, reporter, planned, lambda: expected, after=after)


class _Estimate:
    """Says after the first finished training how long the rest will take, by the number of steps."""

    def __init__(self, config: SweepConfig, done: list[RunJob], reporter: Reporter) -> None:
        whole, work = config.train.optimiser.steps, expected_work(config)
        spent = sum(job.steps for job in done) / whole
        self.left = sum(runs * share for runs, share in work) - spent
        self.share = next((share for runs, share in work if not _covered(done, runs, share * whole)), 1.0)
        self.jobs, self.reporter = at_a_time(config.train.device, config.jobs), reporter
        self.start, self.told = time.monotonic(), False

    def __call__(self, name: str) -> None:
        if not self.told and self.left > self.share * (1 + 1e-9):
            minutes = (time.monotonic() - self.start) / 60
            total = minutes * self.left / self.share / self.jobs
            self.reporter.say(
                f"The first training took {minutes:.1f} minutes; at that pace all take about {max(total, minutes):.1f} minutes. "
                "Ctrl-C stops, the same command goes on."
            )
        self.told = True


def _covered(done: list[RunJob], runs: int, steps: float) -> bool:
    return sum(job.steps == max(1, round(steps)) for job in done) >= runs


def _check_folder(folder: Path, config: SweepConfig) -> None:
    """Refuses a folder with another sweep: values and seeds may be added, the options that vary may not change."""
    stored = stored_config(folder, SweepConfig)
    if stored is None:
        return
    changed = differences(config, stored, ignoring=MAY_CHANGE)
    if list(config.vary) != list(stored.vary):
        changed.append(f"varies: stored {', '.join(stored.vary)}, given {', '.join(config.vary)}")
    elif gone := [name for name in stored.settings if name not in config.settings]:
        changed.append(f"settings: stored with '{gone[0]}', given without")
    refuse_changes(folder, config.KIND, changed)
