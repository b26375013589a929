"""Jobs: queued, run, stopped, gone on with, broken off; seen alike by everybody, and living on without the studio."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sadm.core.errors import UserError
from sadm.core.progress import PROGRESS_FILE, ConsoleReporter
from sadm.studio import jobs as module
from sadm.studio.jobs import BROKEN_OFF, DONE, FAILED, RUNNING, STOPPED, WAITING, Job, Jobs

TRAIN = (
    "train --data=digits --data.limit=40 --signal=none --net.patch=4 --net.width=8 --net.depth=1 --net.heads=1 "
    "--optimiser.batch=4 --sampling.steps=2 --log.samples=0 --log.every=1"
).split()


def until(jobs: Jobs, name: str, wanted: Callable[[Job], bool]) -> Job:
    """Tends the queue, as the studio does, until a job is as wanted; minutes are plenty for what these do, on busy cores too."""
    for _ in range(8000):
        jobs.tend()
        job = jobs.job(name)
        if wanted(job):
            return job
        time.sleep(0.05)
    raise AssertionError(f"{job.state}\n{job.log}")


@pytest.fixture(autouse=True)
def nothing_goes_on(tmp_path: Path) -> Iterator[None]:
    """Jobs outlive a test that failed, as they outlive the studio."""
    yield
    for started in tmp_path.rglob("started"):
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.killpg(int(started.read_text()), signal.SIGKILL)


def state(*states: str) -> Callable[[Job], bool]:
    return lambda job: job.state in states


def long_training(out: Path) -> list[str]:
    return [*TRAIN, "--optimiser.steps=1000000", f"--out={out}"]


def test_a_command_runs_and_says_how_it_ended(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs")
    job = jobs.add("train", [*TRAIN, "--optimiser.steps=2", f"--out={tmp_path / 'run'}"], out="run")
    assert (job.state, job.progress, job.log) == (WAITING, {}, "")
    job = until(jobs, job.name, state(DONE, FAILED))
    assert job.state == DONE
    assert "2 steps in" in job.log
    assert (tmp_path / "run" / "model" / "model.json").is_file()
    assert (job.progress["task"], job.progress["done"], job.progress["total"]) == ("training", 2, 2)
    assert (job.title, job.out, job.can_go_on) == ("train", "run", False)


def test_a_mistake_fails_and_is_said(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs")
    for words, said in (
        (["sample", str(tmp_path / "nothing")], "no model in"),
        (["train", "--unknown"], "Unrecognized options"),
    ):
        job = until(jobs, jobs.add("x", words).name, state(DONE, FAILED))
        assert job.state == FAILED
        assert said in job.log
        assert "Traceback" not in job.log


def test_a_job_outlives_the_studio_is_stopped_and_gone_on_with_and_killed(tmp_path: Path) -> None:
    """Another process starts it and ends at once."""
    script = (
        "import signal, sys; from sadm.studio.jobs import Jobs; jobs = Jobs(sys.argv[1]);"
        "signal.signal(signal.SIGINT, signal.SIG_IGN);"  # as it is for what a script starts with &
        "print(jobs.add('train', sys.argv[2:]).name); jobs.tend()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "jobs"), *long_training(tmp_path / "run")]
    name = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.strip()
    jobs = Jobs(tmp_path / "jobs")
    assert jobs.job(name).state == RUNNING
    until(jobs, name, lambda job: job.progress.get("done", 0) > 1)
    with pytest.raises(UserError, match="is running. Stop it first"):
        jobs.remove(name)
    jobs.stop(name)
    job = until(jobs, name, state(STOPPED, FAILED, BROKEN_OFF))
    assert job.state == STOPPED
    assert "Stopped and saved at step" in job.log
    steps = job.progress["done"]
    jobs.go_on(name)
    until(jobs, name, lambda job: job.progress.get("done", 0) > steps)
    assert "Going on from step" in jobs.job(name).log
    os.kill(int((job.folder / "started").read_text()), signal.SIGKILL)
    job = until(jobs, name, state(BROKEN_OFF, FAILED, STOPPED))
    assert job.state == BROKEN_OFF
    assert job.can_go_on
    jobs.remove(name)
    assert jobs.all() == []
    assert (tmp_path / "run").is_dir()


class Held:
    """Stands for a process: its lock is held as long as the test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started: list[str] = []
        self.running: set[str] = set()
        monkeypatch.setattr(module, "_start", self.start)
        monkeypatch.setattr(module, "_state_of", self.state)

    def start(self, job: Job) -> int:
        self.started.append(job.name)
        self.running.add(job.name)
        return 1

    def state(self, folder: Path) -> str:
        if (folder / "code").exists():
            return STOPPED
        if folder.name in self.running:
            return RUNNING
        return DONE if folder.name in self.started else WAITING


def test_as_many_run_as_may_in_the_order_in_which_they_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, jobs = Held(monkeypatch), Jobs(tmp_path, at_once=2)
    names = [jobs.add(f"job {i}", ["train"]).name for i in range(5)]
    assert [job.name for job in jobs.all()] == sorted(names, reverse=True)
    jobs.tend()
    jobs.tend()
    assert held.started == names[:2]
    jobs.stop(names[2])  # waits: is taken out
    held.running.remove(names[0])
    jobs.tend()
    assert held.started == [*names[:2], names[3]]


def test_two_studios_start_a_job_once(tmp_path: Path) -> None:
    first, second = Jobs(tmp_path / "jobs"), Jobs(tmp_path / "jobs")
    name = first.add("sample", ["sample", str(tmp_path / "nothing")]).name
    until(first, name, lambda job: second.tend() or job.state == FAILED)
    assert first.job(name).log.count("no model in") == 1


def test_names_stay_within_the_folder(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs")
    (tmp_path / "job.json").write_text("{}")
    for name in ("..", "../jobs", "gone", "", "a/b"):
        with pytest.raises(UserError, match="there is no job"):
            jobs.job(name)
    name = jobs.add("x", ["../../evil command"]).name
    assert (tmp_path / "jobs" / name).is_dir()
    with pytest.raises(UserError, match="is waiting; only one that"):
        jobs.go_on(name)


def test_progress_is_there_for_other_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "progress.json"
    monkeypatch.setenv(PROGRESS_FILE, str(path))
    clock = iter([0.0, 0.1, 10.0, 20.0] + [30.0] * 20)
    with ConsoleReporter() as reporter:
        monkeypatch.setattr("sadm.core.progress.time.monotonic", lambda: next(clock))
        reporter._file.update("work", 0, 40, "")  # type: ignore[union-attr]
        assert json.loads(path.read_text())["seconds_left"] is None
        reporter._file.update("work", 1, 40, "")  # type: ignore[union-attr]  # too soon to be written
        assert json.loads(path.read_text())["done"] == 0
        reporter._file.update("work", 10, 40, "a note")  # type: ignore[union-attr]
    facts = json.loads(path.read_text())
    assert facts == {"task": "work", "done": 10, "total": 40, "note": "a note", "seconds_left": 30.0}
    assert [file.name for file in tmp_path.iterdir()] == ["progress.json"]


def test_a_progress_file_that_can_not_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROGRESS_FILE, str(tmp_path / "gone" / "progress.json"))
    with ConsoleReporter() as reporter:
        reporter.update("work", 1, 2)
