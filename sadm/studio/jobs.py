"""Commands that work on while nobody looks: each is a process of its own, and all that is known of it lies in its folder.

So closing the browser, or the studio itself, loses nothing, and any number of pages see the same. A folder holds ``job.json``
(what was asked for), ``started`` (the process), ``progress.json`` and ``output.log`` (what it says), and in the end ``code``. Its
lock is held as long as the process lives.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sadm.core.errors import UserError
from sadm.core.files import (
    held_locks,
    is_locked,
    locked,
    make_folder,
    read_object,
    user_errors_for,
    write_atomically,
    write_json,
)
from sadm.core.progress import PROGRESS_FILE

WAITING, RUNNING, DONE, STOPPED, FAILED, BROKEN_OFF = "waiting", "running", "done", "stopped", "failed", "broken off"
_JOB, _STARTED, _PROGRESS, _LOG, _CODE = "job.json", "started", "progress.json", "output.log", "code"
_ENDED = {0: DONE, 130: STOPPED}
_TAIL = 20_000  # characters of a log that are shown
_NOT_PLAIN = re.compile(r"[^\w-]+")


@dataclasses.dataclass(frozen=True)
class Job:
    """A command, as it stands now.

    Attributes:
        name: of its folder; sorts by time.
        title: what it does, for people.
        command: words behind ``sadm``.
        state: `WAITING`, `RUNNING`, `DONE`, `STOPPED` (on request, after saving), `FAILED`, or `BROKEN_OFF` (its process was
            killed or the machine went down).
        folder: where all this is kept.
        out: the folder that it writes; "" = none.
    """

    name: str
    title: str
    command: tuple[str, ...]
    state: str
    folder: Path
    out: str = ""

    @property
    def can_go_on(self) -> bool:
        """Whether the same command may be started again."""
        return self.state in (STOPPED, FAILED, BROKEN_OFF)

    @property
    def progress(self) -> dict[str, Any]:
        """``task``, ``done``, ``total``, ``note`` and ``seconds_left`` (None = not known yet); empty before it says anything."""
        try:
            return read_object(self.folder / _PROGRESS)
        except UserError:
            return {}

    @property
    def log(self) -> str:
        """The end of what it has printed."""
        try:
            return (self.folder / _LOG).read_text(encoding="utf-8", errors="replace")[-_TAIL:]
        except FileNotFoundError:
            return ""


class Jobs:
    """All jobs of a workspace.

    Args:
        folder: made where it is missing.
        at_once: how many may run at a time; others wait.
    """

    def __init__(self, folder: str | Path, at_once: int = 1) -> None:
        self.folder, self.at_once = make_folder(folder), at_once
        self._tending = threading.Lock()

    def add(self, title: str, command: Sequence[str], out: str = "") -> Job:
        """Puts a command in the queue.

        Raises:
            UserError: the folder can't be written.
        """
        stem = _NOT_PLAIN.sub("-", command[0])[:20]
        while True:
            seconds, rest = divmod(time.time_ns(), 1_000_000_000)
            name = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(seconds))}-{rest // 1000:06d}-{stem}"
            with user_errors_for(self.folder), contextlib.suppress(FileExistsError):
                (self.folder / name).mkdir()
                break
        write_json(self.folder / name / _JOB, {"title": title, "command": list(command), "out": out})
        return self.job(name)

    def all(self) -> list[Job]:
        """Every job, the newest first."""
        names = (path.parent.name for path in self.folder.glob(f"*/{_JOB}"))
        found = []
        for name in sorted(names, reverse=True):
            with contextlib.suppress(UserError):  # removed a moment ago, by another page
                found.append(self.job(name))
        return found

    def job(self, name: str) -> Job:
        """A job by its name.

        Raises:
            UserError: there is none.
        """
        folder = self.folder / name
        if name in ("", ".", "..") or Path(name).name != name or not (folder / _JOB).is_file():
            raise UserError(f"there is no job '{name}'.")
        facts = read_object(folder / _JOB)
        return Job(name, facts["title"], tuple(facts["command"]), _state_of(folder), folder, facts.get("out", ""))

    def stop(self, name: str) -> None:
        """Asks a job to save and stop; one that waits is taken out of the queue.

        Raises:
            UserError: there is none.
        """
        with self._tending:
            job = self.job(name)
            if job.state == WAITING:
                write_atomically(job.folder / _CODE, "130")
            elif job.state == RUNNING:
                with contextlib.suppress(ProcessLookupError, FileNotFoundError, ValueError):
                    os.kill(int((job.folder / _STARTED).read_text()), signal.SIGINT)

    def go_on(self, name: str) -> None:
        """Puts a job that has ended before its time back into the queue.

        Raises:
            UserError: there is none, or it has not.
        """
        with self._tending:
            job = self.job(name)
            if not job.can_go_on:
                raise UserError(
                    f"job '{name}' is {job.state}; only one that was stopped, has failed or was broken off can go on."
                )
            for file in (_CODE, _STARTED, _PROGRESS):
                (job.folder / file).unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Forgets a job that does not run; what it has written stays.

        Raises:
            UserError: there is none, or it runs.
        """
        with self._tending:
            job = self.job(name)
            if job.state == RUNNING:
                raise UserError(f"job '{name}' is running. Stop it first.")
            shutil.rmtree(job.folder, ignore_errors=True)

    def tend(self) -> None:
        """Starts what waits, as far as there is room; call it now and then."""
        with self._tending:
            jobs = self.all()
            room = self.at_once - sum(job.state == RUNNING for job in jobs)
            for job in reversed(jobs):
                if room > 0 and job.state == WAITING:
                    room -= _start(job)


def _state_of(folder: Path) -> str:
    code = folder / _CODE
    if code.exists():
        try:
            return _ENDED.get(int(code.read_text()), FAILED)
        except ValueError:
            return FAILED
    if not (folder / _STARTED).exists():
        return WAITING
    if is_locked(folder):
        return RUNNING
    return _state_of(folder) if code.exists() else BROKEN_OFF  # it may have ended between the two looks


def _start(job: Job) -> int:
    """Starts a job's process, which outlives this one; 1, or 0 where another studio was faster."""
    try:
        with locked(job.folder, "working"):
            if (job.folder / _STARTED).exists():
                return 0
            environment = {**os.environ, PROGRESS_FILE: str(job.folder / _PROGRESS), "COLUMNS": "120"}
            with open(job.folder / _LOG, "ab") as log:
                process = subprocess.Popen(  # noqa: S603 - our own program, as a list
                    [sys.executable, "-m", "sadm.cli.as_job", str(job.folder), json.dumps(job.command)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                    pass_fds=held_locks(),
                )
            write_atomically(job.folder / _STARTED, str(process.pid))
            threading.Thread(target=process.wait, daemon=True).start()  # or it would stay as a zombie
            return 1
    except UserError:
        return 0
