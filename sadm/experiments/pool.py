"""Worker processes that share out jobs, report progress and stop together."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sadm.core.errors import InterruptedRun, UserError
from sadm.core.files import held_locks, make_folder, user_errors_for
from sadm.core.progress import Reporter
from sadm.core.stopping import StopRequest

INTERRUPTED = 130
LAST_LINES = 15


@dataclasses.dataclass
class _Worker:
    process: subprocess.Popen[str]
    log: Path
    busy: str | None = None
    error: str | None = None


class Pool:
    """Runs jobs in worker processes of one thread each.

    Jobs are dictionaries with a ``name``; `after` is called in this process when one has finished, and may return more.

    Args:
        folder: of the comparison or sweep, given to the workers.
        devices: one for each process.
        reporter: told about progress.
    """

    def __init__(self, folder: Path, devices: Sequence[str], reporter: Reporter) -> None:
        self.folder, self.devices, self.reporter = folder, devices, reporter
        self.messages: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
        self.workers: list[_Worker] = []

    def run(self, jobs: list[dict[str, Any]], after: Callable[[str], list[dict[str, Any]]]) -> None:
        """Carries out `jobs` and those that `after` adds.

        Raises:
            InterruptedRun: stopped by Ctrl-C or SIGTERM, after the workers saved.
            UserError: a job failed; the others were stopped, after they saved.
        """
        waiting = list(jobs)
        with StopRequest() as stop:
            try:
                while waiting or any(worker.busy for worker in self.workers):
                    if stop.requested:
                        raise InterruptedRun(
                            f"Stopped; finished and half-finished runs are kept in {self.folder}. To go on, run the same command."
                        )
                    self._hand_out(waiting)
                    waiting += self._receive(after)
            finally:
                self._stop()

    def _hand_out(self, waiting: list[dict[str, Any]]) -> None:
        while waiting and len(self.workers) < len(self.devices) and all(worker.busy for worker in self.workers):
            self.workers.append(self._start(len(self.workers)))
            self._give(self.workers[-1], waiting.pop(0))
        for worker in self.workers:
            if waiting and worker.busy is None:
                self._give(worker, waiting.pop(0))

    def _give(self, worker: _Worker, job: dict[str, Any]) -> None:
        assert worker.process.stdin is not None  # noqa: S101 - it was opened as a pipe
        worker.busy = job["name"]
        worker.process.stdin.write(json.dumps(job) + "\n")
        worker.process.stdin.flush()

    def _start(self, number: int) -> _Worker:
        log = make_folder(self.folder / "logs") / f"worker-{number}.log"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with user_errors_for(log), open(log, "w", encoding="utf-8") as file:
            process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "sadm.experiments.worker", str(self.folder), self.devices[number]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                errors="replace",  # what is no message need not be text
                env=environment,
                pass_fds=held_locks(),  # nobody else may enter while a worker outlives this process
                start_new_session=True,  # Ctrl-C reaches this process, which passes it on once
            )
        threading.Thread(target=pass_on, args=(number, process, self.messages), daemon=True).start()
        return _Worker(process, log)

    def _receive(self, after: Callable[[str], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        try:
            number, message = self.messages.get(timeout=0.5)
        except queue.Empty:
            return []
        worker = self.workers[number]
        if message is None:
            raise self._failure(worker)
        if "progress" in message:
            self.reporter.update(message["progress"], message["done"], message["total"], message["note"])
        elif "say" in message:
            self.reporter.say(message["say"])
        elif "error" in message:
            worker.error = message["error"]
        elif "finished" in message:
            worker.busy = None
            return after(message["finished"])
        return []

    def _failure(self, worker: _Worker) -> Exception:
        code = worker.process.wait()
        if worker.error is not None:
            return UserError(worker.error)
        if code == INTERRUPTED or code == -signal.SIGINT:
            return InterruptedRun(
                f"A run was interrupted; it is kept in {self.folder}. To go on, run the same command."
            )
        tail = worker.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        return UserError(
            f"the run '{worker.busy}' ended unexpectedly (exit code {code}). Its last words, from {worker.log}:\n"
            + "\n".join(tail)
        )

    def _stop(self) -> None:
        for worker in self.workers:
            if worker.busy and worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)
            if worker.process.stdin is not None and not worker.process.stdin.closed:
                worker.process.stdin.close()
        for worker in self.workers:
            worker.process.wait()
        self.workers.clear()


def pass_on(name: Any, process: subprocess.Popen[str], messages: queue.Queue[Any]) -> None:
    """Puts a worker's messages into a queue, each as (name, message), and at the end, whatever happens, (name, None)."""
    assert process.stdout is not None  # noqa: S101 - it was opened as a pipe
    try:
        for line in process.stdout:
            if (message := message_in(line)) is not None:
                messages.put((name, message))
    finally:
        messages.put((name, None))


def message_in(line: str) -> dict[str, Any] | None:
    """The message that a worker wrote as a line; None where somebody else wrote it."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None
