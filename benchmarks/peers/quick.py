"""A smoke test of every contestant on few images and a budget of seconds; its numbers mean nothing and are not stored."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.contestant import find
from benchmarks.peers.plan import LEARNING_RATES, Job, Setting
from benchmarks.peers.scores import excess
from benchmarks.peers.study import Study
from sadm.core.progress import Reporter

BUDGET = 2.5
HELD_OUT, LIMIT = 45, 1000


def run_quick(contestants: Sequence[str], processes: int, reporter: Reporter) -> dict[str, Any]:
    """What came out of each contestant that can run here, and why the others can't."""
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Setting(Path(folder), HELD_OUT, LIMIT), processes, reporter)
        names, missing = study.available(contestants)
        jobs = {Job(name, "small", LEARNING_RATES[1], 0, BUDGET): [fastest(name)] for name in names}
        results = study.run(jobs)
        found = {
            job.contestant: {
                "steps": results[job]["training"]["steps"],
                "losses": results[job]["training"]["losses"],
                "cpu_seconds": results[job]["training"]["cpu_seconds"],
                "excess": excess(results[job], sampler),
            }
            for job, (sampler,) in jobs.items()
        }
    return {"not_a_result": True, "contestants": found, "cannot_run": missing}


def fastest(name: str) -> str:
    """The contestant's sampler with the fewest network evaluations."""
    samplers = find(name).samplers
    return min(samplers, key=lambda sampler: samplers[sampler].nfe)
