"""Running `sadm` as a process of its own, with or without something planted in it, and killing it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT

Hooks = Sequence[tuple[str, dict[str, Any]]]
LIMIT = 300.0
_STACK_SECONDS = 10.0


class Stuck(Exception):  # noqa: N818 - a verdict on a process
    """A process that did not end within `LIMIT` seconds."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: its exit code; negative: the signal that killed it.
        output: what it printed, on both streams.
        seconds: that it took.
        spent: processor seconds that it took.
    """

    code: int
    output: str
    seconds: float
    spent: float

    @property
    def crashed(self) -> bool:
        """Whether a person saw a traceback."""
        return "Traceback (most recent call last)" in self.output


@dataclasses.dataclass(frozen=True)
class Process:
    """A process that a command has started."""

    number: int

    def kill(self) -> None:
        """Ends it at once."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.number, signal.SIGKILL)


def children(process: int) -> list[Process]:
    """The processes that a process has started and that still run (on Linux)."""
    try:
        return [Process(int(word)) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


class Running:
    """A process that runs a command."""

    def __init__(self, host: Host, child: int, log: Path) -> None:
        self.host, self.child, self.log, self.start = host, child, log, time.monotonic()

    def wait(self, seconds: float = LIMIT) -> Ended | None:
        """Waits for its end; None where it has not ended by then."""
        answer = self.host.ask({"wait": self.child, "seconds": seconds})
        if answer is None:
            return None
        output = self.log.read_text("utf-8", errors="replace")
        return Ended(answer[0], output, time.monotonic() - self.start, answer[1])

    def spent(self) -> float:
        """Processor seconds that it has taken so far (on Linux); 0 where it has gone."""
        try:
            fields = Path(f"/proc/{self.child}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> Ended:
        """Waits for its end.

        Raises:
            Stuck: it does not end; it is killed then.
        """
        ended = self.wait()
        if ended is None:
            self.kill(signal.SIGKILL)
            self.wait()
            raise Stuck(f"still running after {LIMIT:.0f} s: {self.log}")
        return ended

    def kill(self, number: signal.Signals) -> None:
        """Sends it a signal; nothing where it has gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child, number)

    def stack(self, file: Path) -> str:
        """Where it is: the stack that the hook ``stack`` writes to `file` when asked."""
        self.kill(signal.SIGUSR1)
        return self._written(file)

    def _written(self, file: Path) -> str:
        deadline = time.monotonic() + _STACK_SECONDS
        while time.monotonic() < deadline:
            if file.exists() and file.stat().st_size:
                time.sleep(0.001)
                return file.read_text("utf-8", errors="replace")
            time.sleep(0.0005)
        return ""


class Host:
    """Starts commands; see `benchmarks.faults.host`. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Host:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.faults.host"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(),
        )
        self._read()
        return self

    def __exit__(self, *error: object) -> None:
        assert self.process.stdin is not None  # noqa: S101 - it was opened as a pipe
        self.process.stdin.close()
        self.process.wait()

    def start(self, *arguments: str | Path, hooks: Hooks = ()) -> Running:
        """Starts ``sadm ARGUMENTS``, with hooks (see `benchmarks.faults.hooks`) planted before."""
        self.count += 1
        log = self.folder / f"{self.count:05d}.log"
        log.unlink(missing_ok=True)
        request = {"start": [str(word) for word in arguments], "log": str(log), "hooks": list(hooks)}
        return Running(self, self.ask(request), log)

    def run(self, *arguments: str | Path, hooks: Hooks = ()) -> Ended:
        """Starts ``sadm ARGUMENTS`` and waits for its end."""
        return self.start(*arguments, hooks=hooks).end()

    def ask(self, request: dict[str, Any]) -> Any:
        """The host's answer."""
        assert self.process.stdin is not None  # noqa: S101
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self.process.stdout is not None  # noqa: S101
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that starts commands has ended (exit code {self.process.wait()})")
        return json.loads(line)


def environment() -> dict[str, str]:
    """Of all processes: one thread, this checkout, and what lets workers of a comparison tell where they are."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}


@contextlib.contextmanager
def hosting(folder: Path) -> Iterator[Host]:
    """A host whose logs are in `folder`."""
    with Host(folder) as host:
        yield host
