"""Runs jobs, each in a process of its own, a few at a time; shows progress and stops them together."""

from __future__ import annotations

import dataclasses
import queue
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.company import Company
from benchmarks.peers.environment import last_words, start
from benchmarks.peers.plan import Job
from sadm.core.errors import InterruptedRun, UserError
from sadm.core.files import make_folder
from sadm.core.progress import Reporter
from sadm.core.stopping import StopRequest
from sadm.experiments.pool import pass_on


@dataclasses.dataclass
class _Running:
    job: Job
    process: subprocess.Popen[str]
    log: Path
    error: str | None = None
    finished: bool = False


class Pool:
    """Processes of one thread each; always as many as there is room for, so that all have the same company.

    Args:
        size: how many at a time.
        reporter: told about progress.
    """

    def __init__(self, size: int, reporter: Reporter) -> None:
        self.size, self.reporter = size, reporter
        self.messages: queue.Queue[tuple[str, dict[str, Any] | None]] = queue.Queue()
        self.running: dict[str, _Running] = {}
        self.company = Company()

    def run(self, folders: dict[Job, Path], after: Callable[[Job], None]) -> None:
        """Runs the jobs in their folders; calls `after` when one has finished.

        Raises:
            InterruptedRun: stopped by Ctrl-C or SIGTERM, after the jobs saved.
            UserError: a job failed; the others were stopped, after they saved.
        """
        waiting, total, spent = list(folders), sum(job.budget for job in folders), 0.0
        with StopRequest() as stop:
            try:
                while waiting or self.running:
                    if stop.requested:
                        raise InterruptedRun("Stopped; what was done is kept. To go on, run the same command.")
                    while waiting and len(self.running) < self.size:
                        job = waiting.pop(0)
                        self.running[job.name] = self._start(job, folders[job])
                    self.company.keep(self.size - len(self.running))
                    done = self._receive()
                    if done is not None:
                        after(done)
                        spent += done.budget
                        self.reporter.update(
                            "all jobs, CPU-seconds of training", round(spent), round(total), f"{len(waiting)} waiting"
                        )
            finally:
                self._stop()

    def _start(self, job: Job, folder: Path) -> _Running:
        log = make_folder(folder) / "log.txt"
        process = start(job.contestant, "benchmarks.peers.worker", [str(folder)], log)
        threading.Thread(target=pass_on, args=(job.name, process, self.messages), daemon=True).start()
        return _Running(job, process, log)

    def _receive(self) -> Job | None:
        """Handles one message; the job, where it is a job's last and all went well."""
        try:
            name, message = self.messages.get(timeout=0.5)
        except queue.Empty:
            return None
        one = self.running[name]
        if message is None:
            if not one.finished or one.process.wait() != 0:
                raise self._failure(one)
            return self.running.pop(name).job
        if "stage" in message:
            self.reporter.update(f"{name}: {message['stage']}", message["done"], message["total"], message["note"])
        one.error = message.get("error", one.error)
        one.finished = one.finished or "finished" in message
        return None

    def _failure(self, one: _Running) -> Exception:
        code = one.process.wait()
        if one.error is not None:
            return UserError(f"{one.job.name}: {one.error}")
        if code == 130 or code == -signal.SIGINT:
            return InterruptedRun("A job was interrupted; it is kept. To go on, run the same command.")
        return UserError(
            f"{one.job.name} ended with code {code}. Its last words, from {one.log}:\n{last_words(one.log)}"
        )

    def _stop(self) -> None:
        self.company.keep(0)
        for one in self.running.values():
            if one.process.poll() is None:
                one.process.send_signal(signal.SIGTERM)
        for one in self.running.values():
            one.process.wait()
        self.running.clear()
