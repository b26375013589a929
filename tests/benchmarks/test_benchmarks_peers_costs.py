"""The cost of a step, measured in turns, of real processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from test_benchmarks_peers import Silent, images, workplace

from benchmarks.peers import costs, pace, plan
from benchmarks.peers.company import Company
from benchmarks.peers.costs import measure
from benchmarks.peers.study import Study, settings_of
from sadm.core.errors import InterruptedRun, UserError
from sadm.core.progress import Reporter
from sadm.data import Split


class Heard(Silent):
    """A reporter that remembers what it was told, and may be asked to do something then."""

    def __init__(self, then: Any = None) -> None:
        self.told: list[tuple[str, int, int, str]] = []
        self.then = then

    def update(self, task: str, done: int, total: int, note: str = "") -> None:
        self.told.append((task, done, total, note))
        if self.then is not None:
            self.then(task, done)


def study_in(folder: Path, reporter: Reporter) -> Study:
    """A study of made-up images."""
    study = Study(plan.Setting(folder, 30), 2, reporter)
    study.split = Split(images(28), images(28))
    return study


def jobs(*names: str) -> list[plan.Job]:
    """One for each contestant, of a budget that buys few steps."""
    return [plan.Job(name, "small", 1e-3, 100, 3.0) for name in names]


def test_everyone_takes_a_whole_schedule_in_turns_beside_company(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    monkeypatch.setattr(Company, "keep", lambda self, count: counts.append(count))
    order: list[str] = []
    take = costs.Pacer.take_turn
    monkeypatch.setattr(
        costs.Pacer, "take_turn", lambda self, left: order.append(self.job.contestant) or take(self, left)
    )
    heard = Heard()
    wanted = jobs("ours_plain", "ours_structure")
    found = measure(study_in(tmp_path, heard), wanted, turns=3, least=7)
    assert order == ["ours_plain", "ours_structure"] * 3
    assert counts == [1, 0]
    assert [done for task, done, *_ in heard.told if task == "cost of a step, in turns"] == [1, 2, 3]
    for job in wanted:
        one = found["contestants"][job.contestant]
        assert one["settings"] == settings_of(job)
        calibration = one["calibration"]
        assert calibration["in_turns"] is True
        assert calibration["steps"] >= 7
        assert calibration["seconds_per_step"] > 0
        assert len(one["milliseconds_by_turn"]) == 3
        each = one["milliseconds_by_turn"]
        assert min(each) * 0.99 <= 1000 * calibration["seconds_per_step"] <= max(each) * 1.01
        assert (calibration["setup_seconds"] > 0) == (job.contestant == "ours_structure")


def test_a_contestant_that_fails_is_named_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Company, "keep", lambda self, count: None)
    wanted = [plan.Job("ours_plain", "enormous", 1e-3, 100, 3.0)]
    monkeypatch.setattr(costs, "settings_of", lambda job: {})
    with pytest.raises(UserError, match=r"(?s)of ours_plain could not be measured: it ended with code 1\..*enormous"):
        measure(study_in(tmp_path, Silent()), wanted, turns=1, least=1)


def test_a_mistake_of_the_user_is_said_without_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Company, "keep", lambda self, count: None)
    wanted = [plan.Job("ours_plain", "small", 1e-3, 100, 3.0, ("faster",))]
    with pytest.raises(UserError, match=r"could not be measured: unknown variant 'faster' of .*; there are batch 32"):
        measure(study_in(tmp_path, Silent()), wanted, turns=1, least=1)


def test_a_stop_ends_it_after_the_turn_and_every_process_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    monkeypatch.setattr(Company, "keep", lambda self, count: counts.append(count))
    begun: list[costs.Pacer] = []
    start = costs.Pacer.__init__
    monkeypatch.setattr(costs.Pacer, "__init__", lambda self, *given: begun.append(self) or start(self, *given))

    def stop(task: str, done: int) -> None:
        if task == "cost of a step, in turns":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedRun, match="measures it anew"):
        measure(study_in(tmp_path, Heard(stop)), jobs("ours_plain"), turns=3, least=3)
    assert [len(pacer.turns) for pacer in begun] == [2]
    assert begun[0].process.poll() is not None
    assert counts[-1] == 0


def test_a_schedule_in_stretches_is_the_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = workplace("ours_plain", tmp_path, monkeypatch)
    asked: list[int] = []
    monkeypatch.setattr(
        "benchmarks.peers.workplace.Workplace.start",
        lambda self, steps, restored=False: asked.append(steps) or Stepping(),
    )
    costing = iter([9.0, 0.25, *[0.5] * 9, 5.0])  # the first is slow, the second says how many; the last was disturbed
    monkeypatch.setattr(pace, "timed", lambda training: training.advance() or next(costing))
    found = pace.Pace(place, least=10)
    assert asked == [2, 10]  # 5 CPU-seconds / 10 / 0.25 would be 2
    while found.left:
        found.advance()
    assert found.training.taken == 10
    assert found.found() == {"setup_seconds": 1.5, "seconds_per_step": 0.5, "steps": 10}


class Stepping:
    """A training that counts."""

    setup_seconds = 1.5

    def __init__(self) -> None:
        self.taken = 0

    def advance(self) -> float:
        self.taken += 1
        return 0.0


def test_who_comes_later_costs_what_it_would_have_cost_beside_the_others() -> None:
    def measured(**seconds: float) -> dict[str, Any]:
        costs_of = {
            name: {"calibration": {"setup_seconds": 2.0, "seconds_per_step": each, "steps": 200, "in_turns": True}}
            for name, each in seconds.items()
        }
        return {"contestants": costs_of, "turns": 20, "provenance": {"commit": f"{len(seconds)}"}}

    before, later = measured(one=0.1, other=0.4), measured(one=0.2, other=0.8, new=0.5)  # a machine half as fast
    found = costs.joined(before, later)
    assert {name: found["contestants"][name] for name in before["contestants"]} == before["contestants"]
    new = found["contestants"]["new"]
    assert new["calibration"] == pytest.approx(
        {"setup_seconds": 1.0, "seconds_per_step": 0.25, "steps": 200, "in_turns": True, "scaled": 0.5}
    )
    assert new["provenance"] == {"commit": "3"}
    assert costs.joined({"contestants": {}}, later) == later
    with pytest.raises(UserError, match="new can't be measured beside one, other, whose costs are stored"):
        costs.joined(before, measured(new=0.5))
