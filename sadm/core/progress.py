"""Progress of long work: bars with an ETA on a terminal, a line now and then in a log file, and a file for other programs."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sadm.core.terminal import printable

SECONDS_BETWEEN_LINES = 15.0
PROGRESS_FILE = "SADM_PROGRESS"
"""Environment variable: the file that says how far a command is, for programs that show it elsewhere."""
_SECONDS_BETWEEN_FILES = 0.5


class Reporter(Protocol):
    """Where long work reports to."""

    def update(self, task: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` units of `task` are ready."""
        ...

    def say(self, text: str) -> None:
        """A sentence for the user."""
        ...


class Silent:
    """Reports nothing."""

    def update(self, task: str, done: int, total: int, note: str = "") -> None:
        pass

    def say(self, text: str) -> None:
        pass


class ConsoleReporter:
    """Reports to the console (standard error); use as a context manager."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._pace = _Pace()
        self._last_line = 0.0
        told = os.environ.get(PROGRESS_FILE)
        self._file = None if told is None else _ProgressFile(Path(told))

    def __enter__(self) -> ConsoleReporter:
        if self.console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=self.console,
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def update(self, task: str, done: int, total: int, note: str = "") -> None:
        task, note = printable(task), printable(note)  # names of folders may be among them
        if self._file is not None:
            self._file.update(task, done, total, note)
        if self._bars is not None:
            if task not in self._tasks:
                self._tasks[task] = self._bars.add_task(task, total=total, note=note)
            # Finished bars make room for those that still move.
            self._bars.update(self._tasks[task], completed=done, total=total, note=note, visible=done < total)
        else:
            self._print_line(task, done, total, note)

    def say(self, text: str) -> None:
        self.console.print(printable(text), markup=False)

    def _print_line(self, task: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        left = self._pace.seconds_left(task, done, total, now)
        if now - self._last_line < SECONDS_BETWEEN_LINES and done < total:
            return
        self._last_line = now
        eta = "" if left is None or done >= total else f", ETA {clock(left)}"
        self.console.print(f"{task}: {done}/{total}{eta}  {note}".rstrip(), markup=False)


class _Pace:
    """How long tasks will take, from when they began and how far they were then."""

    def __init__(self) -> None:
        self._started: dict[str, tuple[float, int]] = {}

    def seconds_left(self, task: str, done: int, total: int, now: float) -> float | None:
        """None before anything has moved."""
        start, first = self._started.setdefault(task, (now, done))
        return (now - start) / (done - first) * (total - done) if first < done else None


class _ProgressFile:
    """The task that moved last, as JSON: ``task``, ``done``, ``total``, ``note``, ``seconds_left`` (None = not known yet)."""

    def __init__(self, path: Path) -> None:
        self.path, self._pace = path, _Pace()
        self._last = -_SECONDS_BETWEEN_FILES

    def update(self, task: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        left = self._pace.seconds_left(task, done, total, now)
        if now - self._last < _SECONDS_BETWEEN_FILES and done < total:
            return
        self._last = now
        facts = {"task": task, "done": done, "total": total, "note": note, "seconds_left": left}
        # Renamed into place, so that no reader sees half of it; not synced, since nothing depends on it. Where it can't be
        # written, the work goes on.
        with contextlib.suppress(OSError):
            temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
            temporary.write_text(json.dumps(facts), encoding="utf-8")
            os.replace(temporary, self.path)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, for people."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
