"""A stored training of the report, anew: does it give what is stored?"""

from __future__ import annotations

import math
import shutil
from typing import Any

from benchmarks.common import result_path, stored
from benchmarks.peers.plan import NAME, REPORT_HELD_OUT, RUNS, Job, Setting, result_name
from benchmarks.peers.study import Study, settings_of
from benchmarks.verifying import SAME
from sadm.core.errors import UserError
from sadm.core.provenance import provenance

VERIFY = Setting(RUNS / NAME / "verify", REPORT_HELD_OUT)
APART = 0.1
"""How far FD may be apart, relative to what is stored, where another machine rounds differently."""


def verify(study: Study, contestant: str, minutes: float, seed: int | None = None) -> dict[str, Any]:
    """Trains and judges anew, the same number of steps.

    Args:
        study: a folder of its own, which is gone afterwards; resumable.
        contestant: whose.
        minutes: the budget.
        seed: None = the first that is stored.

    Returns:
        By judge FD ``stored`` and ``now``; whether all are the ``same`` to the last digit, or at least ``within`` a tenth.

    Raises:
        UserError: no such result is stored, its settings are others by now, or one of the two trainings diverged.
    """
    name = result_name(contestant, minutes)
    if not result_path(NAME, name).exists():
        raise UserError(f"{result_path(NAME, name).name} is not stored: run python -m benchmarks.peers --run first.")
    found = stored(NAME, name)
    by_seed = {one["job"]["seed"]: one for one in found["results"]}
    before = by_seed.get(next(iter(by_seed)) if seed is None else seed)
    if before is None:
        raise UserError(f"--seed {seed} is not stored; there are {', '.join(map(str, by_seed))}.")
    job, sampler = Job.from_dict(before["job"]), found["sampler"]
    if settings_of(job) not in found["settings"]:
        raise UserError(f"the settings of {contestant} have changed since {name} was stored; it can't be trained anew.")
    study.available([contestant])
    now = study.run({job: [sampler]}, {job: before["calibration"]})[job]
    if now["training"]["diverged"] or before["training"]["diverged"]:
        raise UserError(f"{job.name} diverged, now or when it was stored; there is nothing to compare.")
    shutil.rmtree(study.setting.folder / job.name)
    judges = {
        judge: {"stored": value, "now": now["judged"][sampler]["fd"][judge]}
        for judge, value in before["judged"][sampler]["fd"].items()
    }
    return {
        "contestant": contestant,
        "seed": job.seed,
        "steps": now["training"]["steps"],
        "judges": judges,
        "same": _agree(judges, SAME),
        "within": _agree(judges, APART),
        "provenance": provenance(),
    }


def _agree(judges: dict[str, dict[str, float]], apart: float) -> bool:
    return all(math.isclose(one["now"], one["stored"], rel_tol=apart) for one in judges.values())
