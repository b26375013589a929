"""The engine behind ``sadm compare``: arms × seeds at equal steps and at equal cost, resumable run by run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sadm.core.config import build_config, differences, read_yaml, write_yaml
from sadm.core.errors import UserError
from sadm.core.files import make_folder, read_json, refuse_foreign_folder, write_json
from sadm.core.progress import Reporter, Silent
from sadm.evaluation import HeldOutParts
from sadm.experiments.config import CONTROL, TREATMENT, CompareConfig
from sadm.experiments.jobs import COST_FILE, RunJob, read_cost
from sadm.experiments.pool import Pool
from sadm.experiments.summary import summarise, write_outputs
from sadm.training.model_folder import spec_for
from sadm.training.run import split_for

CONFIG, CLOCK = "compare.yaml", "minutes.json"
MAY_CHANGE = ("seeds", "jobs", "lang", "train.log.")
COST_JOB = "cost"
FEW = 50


def compare(config: CompareConfig, out: str | Path, reporter: Reporter | None = None) -> dict[str, Any]:
    """Runs a comparison, or what is left of it, and writes ``report.html``, ``summary.json`` and ``comparison.json``.

    Args:
        config: what to compare. Seeds may be added to a finished comparison.
        out: its folder.
        reporter: where progress is shown; None = nowhere.

    Returns:
        The content of ``comparison.json``.

    Raises:
        UserError: bad data or configuration, another comparison in the folder, a full disk.
        InterruptedRun: stopped by Ctrl-C or SIGTERM, after saving.
    """
    folder, shown = Path(out), reporter or Silent()
    _check_folder(folder, config)
    split = split_for(config.train, shown)
    # What can't be judged or built is refused before anything is written.
    parts = HeldOutParts.of(split.held_out)
    if len(parts.reference) < FEW:
        shown.say(
            f"Only {len(parts.reference)} held-out images serve as reference: expect wide intervals. "
            "More images, or a larger --train.data.held-out, make the judges surer."
        )
    spec_for(split.train, config.train.net, config.train.process.sigma_data).build()
    with _clock(make_folder(folder)):
        write_yaml(folder / CONFIG, config)
        _run_jobs(config, folder, shown)
        comparison, pictures = summarise(config, folder, split)
    comparison["minutes_total"] = read_json(folder / CLOCK)["minutes"]
    write_outputs(folder, comparison, pictures, config.lang)
    return comparison


def planned_jobs(config: CompareConfig, folder: Path) -> list[RunJob]:
    """Every run of a comparison, as far as it is known: those at equal cost once the cost has been measured."""
    steps = config.train.optimiser.steps
    jobs = [RunJob(arm, seed, steps) for seed in config.seeds for arm in (CONTROL, TREATMENT)]
    if (folder / COST_FILE).exists():
        jobs += [equal_cost_job(config, folder, seed) for seed in config.seeds]
    return list(dict.fromkeys(jobs))


def equal_cost_job(config: CompareConfig, folder: Path, seed: int) -> RunJob:
    """The treatment's run that costs what the control's costs."""
    return RunJob(TREATMENT, seed, read_cost(folder).equal_cost_steps(TREATMENT, config.train.optimiser.steps))


def equal_cost_note(config: CompareConfig, folder: Path) -> str:
    """What the measurement of cost means for the comparison."""
    steps = config.train.optimiser.steps
    afforded = read_cost(folder).equal_cost_steps(TREATMENT, steps)
    note = f"Equal cost: {afforded} steps with structure where plain training makes {steps}."
    if afforded < steps / 2:
        note += " Encoder pre-training takes most of so short a training; lower --train.structure.encoder-steps or train longer."
    return note


def _run_jobs(config: CompareConfig, folder: Path, reporter: Reporter) -> None:
    started: set[str] = set()

    def unfinished() -> list[dict[str, Any]]:
        jobs = [
            job
            for job in planned_jobs(config, folder)
            if job.name not in started and not job.result_path(folder).exists()
        ]
        started.update(job.name for job in jobs)
        return [{"name": job.name, "run": vars(job)} for job in jobs]

    def after(name: str) -> list[dict[str, Any]]:
        finished = sum(job.result_path(folder).exists() for job in planned_jobs(config, folder))
        reporter.update("runs", finished, max(3 * len(config.seeds), finished))
        if name != COST_JOB:
            return []
        reporter.say(equal_cost_note(config, folder))
        return unfinished()

    first = [] if (folder / COST_FILE).exists() else [{"name": COST_JOB}]
    Pool(folder, config.jobs, reporter).run([*first, *unfinished()], after)


def _check_folder(folder: Path, config: CompareConfig) -> None:
    refuse_foreign_folder(folder, CONFIG, "comparison")
    path = folder / CONFIG
    if path.exists():
        stored = build_config(CompareConfig, read_yaml(path), str(path))
        changed = differences(config, stored, ignoring=MAY_CHANGE)
        if changed:
            raise UserError(
                f"{folder} holds another comparison ({'; '.join(changed)}). Choose another --out, or give the stored values."
            )


@contextmanager
def _clock(folder: Path) -> Iterator[None]:
    """Adds up the minutes of all sessions."""
    path = folder / CLOCK
    before = read_json(path)["minutes"] if path.exists() else 0.0
    start = time.monotonic()
    try:
        yield
    finally:
        write_json(path, {"minutes": round(before + (time.monotonic() - start) / 60, 3)})
