"""What a step of each contestant costs, measured in turns.

A machine's neighbours outside may cost it half of its speed for an hour. Contestants that each measure their own cost at another
hour would then get other steps for the same budget; measured in turns, a few steps of one after a few of the other, it falls on
all of them alike. Both seeds get the steps that this buys, on whatever machine they are trained.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.company import Company
from benchmarks.peers.environment import last_words, start
from benchmarks.peers.pace import undisturbed_mean
from benchmarks.peers.plan import Job
from benchmarks.peers.study import Study, settings_of
from benchmarks.peers.worker import JOB
from sadm.core.errors import InterruptedRun, UserError
from sadm.core.files import make_folder, write_json
from sadm.core.progress import Reporter
from sadm.core.provenance import provenance
from sadm.core.stopping import StopRequest

TURNS = 20
LEAST_STEPS = 200


def measure(study: Study, jobs: Sequence[Job], turns: int = TURNS, least: int = LEAST_STEPS) -> dict[str, Any]:
    """The cost of a step of each job, one at a time on processors that are otherwise kept as busy as in training.

    Args:
        study: where they take place.
        jobs: one for each contestant.
        turns: of each.
        least: steps of each, at least.

    Returns:
        By contestant ``settings`` and ``calibration``, with CPU-milliseconds a step in each turn; and where it was measured.

    Raises:
        InterruptedRun: stopped by Ctrl-C or SIGTERM; it begins anew.
        UserError: a contestant failed.
    """
    study.write_data()
    company = Company()
    with contextlib.ExitStack() as ends, StopRequest() as stop:
        ends.callback(company.keep, 0)
        company.keep(study.processes - 1)
        pacers = []
        for job in jobs:
            study.reporter.update("cost of a step, set-up", len(pacers), len(jobs), job.contestant)
            folder = make_folder(study.setting.folder / f"cost-of-{job.name}")
            pacers.append(ends.enter_context(Pacer(job, folder, least)))
            _refuse_stop(stop)
        for turn in range(turns):
            for pacer in pacers:
                pacer.take_turn(turns - turn)
                _refuse_stop(stop)
            _show(study.reporter, turn + 1, turns, pacers)
        found = {pacer.job.contestant: pacer.found() for pacer in pacers}
    return {"contestants": found, "turns": turns, "provenance": provenance()}


def joined(before: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Stored costs with those of contestants that came later.

    These are measured beside the others, and brought to what a step of the others cost when they were measured: a machine that
    is slower for everyone now makes nobody's budget smaller.

    Args:
        before: what is stored; without contestants, `found` is all.
        found: a later measurement of all that can run here.

    Raises:
        UserError: none of those that are stored is among them.
    """
    known, now = before["contestants"], found["contestants"]
    if not known:
        return found
    logs = [
        math.log(known[name]["calibration"]["seconds_per_step"] / now[name]["calibration"]["seconds_per_step"])
        for name in known.keys() & now.keys()
    ]
    if not logs:
        raise UserError(
            f"{', '.join(now)} can't be measured beside {', '.join(known)}, whose costs are stored: none of these can run here."
        )
    factor = math.exp(sum(logs) / len(logs))
    added = {
        name: {**one, "calibration": _scaled(one["calibration"], factor), "provenance": found["provenance"]}
        for name, one in now.items()
        if name not in known
    }
    return {**before, "contestants": {**known, **added}}


def _scaled(calibration: dict[str, Any], factor: float) -> dict[str, Any]:
    times = {key: factor * calibration[key] for key in ("setup_seconds", "seconds_per_step")}
    return {**calibration, **times, "scaled": factor}


class Pacer:
    """A process that takes a contestant's steps when asked to.

    Args:
        job: the contestant's.
        folder: of its order and log.
        least: steps.
    """

    def __init__(self, job: Job, folder: Path, least: int) -> None:
        self.job, self.log = job, folder / "log.txt"
        write_json(folder / JOB, {"job": job.as_dict()})
        self.process = start(
            job.contestant, "benchmarks.peers.pacer", [str(folder), str(least)], self.log, answers=True
        )
        self.turns: list[list[float]] = []
        self.last: dict[str, Any] = {}
        try:
            self.left = int(self._answer()["steps"])
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Pacer:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def take_turn(self, turns_left: int) -> None:
        """Takes this turn's share of the steps that are left."""
        steps = -(-self.left // turns_left)
        if not steps:  # all are taken already
            return
        with contextlib.suppress(BrokenPipeError):  # why it is gone is said below
            self.process.stdin.write(f"{steps}\n")  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]
        self.last = self._answer()
        self.turns.append(self.last["seconds"])
        self.left -= steps

    def found(self) -> dict[str, Any]:
        """What was found in all turns."""
        each = [round(1000 * undisturbed_mean(turn), 3) for turn in self.turns]
        return {
            "job": self.job.as_dict(),
            "settings": settings_of(self.job),
            "calibration": {**self.last["found"], "in_turns": True},
            "milliseconds_by_turn": each,
        }

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        answer: dict[str, Any] = json.loads(line) if line.startswith("{") else {"error": None}
        if "error" not in answer:
            return answer
        code = self.process.wait()
        said = answer["error"] or f"it ended with code {code}. Its last words, from {self.log}:\n{last_words(self.log)}"
        raise UserError(f"the cost of a step of {self.job.contestant} could not be measured: {said}")


def _refuse_stop(stop: StopRequest) -> None:
    if stop.requested:
        raise InterruptedRun("Stopped while the cost of a step was measured; the same command measures it anew.")


def _show(reporter: Reporter, done: int, total: int, pacers: Sequence[Pacer]) -> None:
    costs = ", ".join(f"{pacer.job.contestant} {1000 * undisturbed_mean(pacer.turns[-1]):.0f} ms" for pacer in pacers)
    reporter.update("cost of a step, in turns", done, total, costs)
