"""A worker of a comparison or a sweep: ``python -m sadm.experiments.worker FOLDER DEVICE``.

Reads one job a line from standard input and answers each with lines of JSON on standard output: progress, then "finished".
What else is printed, by a user's judge for example, goes to standard error, which is the worker's log.
Where standard input ends in the middle of a job, the comparison has been killed: the worker saves and ends, too.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from sadm.core.config import build_config, read_yaml
from sadm.core.errors import InterruptedRun, UserError

if TYPE_CHECKING:
    from sadm.experiments.config import Experiment


class LineReporter:
    """Reports as lines of JSON.

    Args:
        out: where to; nobody else writes there.
    """

    def __init__(self, out: TextIO) -> None:
        self.out, self.job = out, ""

    def update(self, task: str, done: int, total: int, note: str = "") -> None:
        self.send({"progress": f"{self.job} {task}", "done": done, "total": total, "note": note})

    def say(self, text: str) -> None:
        self.send({"say": f"{self.job}: {text}"})

    def send(self, message: dict[str, Any]) -> None:
        """Writes one message; to nobody where the comparison has been killed, so that a training still saves."""
        try:
            print(json.dumps(message), file=self.out, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.out.fileno())


def own_output() -> TextIO:
    """Standard output, kept for messages alone: from now on, whatever is printed goes to standard error."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = sys.stderr
    return out


class Orders:
    """Jobs, one a line of standard input, as long as somebody is there who gives them."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._busy = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while (line := self._lines.get()) is not None:
            self._busy.set()
            yield json.loads(line)

    def done(self) -> None:
        """The job that was given last has been carried out."""
        self._busy.clear()

    def _listen(self) -> None:
        for line in sys.stdin:
            self._lines.put(line)
        self._lines.put(None)
        if self._busy.is_set():
            os.kill(os.getpid(), signal.SIGTERM)  # as a polite stop: a training saves


def main(folder: Path, device: str, reporter: LineReporter) -> int:
    """Works until standard input ends; returns the exit code."""
    from sadm.experiments.jobs import Laboratory
    from sadm.experiments.plan import RunJob
    from sadm.experiments.poc.measuring import measure_in_worker

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # outside training there is nothing to save
    orders, laboratory = Orders(), None
    for order in orders:
        reporter.job = order["name"]
        laboratory = laboratory or Laboratory(_config(folder, device), folder, reporter)
        if "run" in order:
            laboratory.run(RunJob(**order["run"]))
        elif "speed" in order:
            measure_in_worker(laboratory, order["speed"], order["seconds"])
        else:
            laboratory.measure_costs(order["measure"])
        orders.done()
        reporter.send({"finished": order["name"]})
    return 0


def _config(folder: Path, device: str) -> Experiment:
    from sadm.experiments.config import CompareConfig
    from sadm.experiments.sweep.config import SweepConfig

    kinds: tuple[type[Experiment], ...] = (CompareConfig, SweepConfig)
    kind = next((kind for kind in kinds if (folder / kind.FILE).exists()), CompareConfig)
    path = folder / kind.FILE
    config = build_config(kind, read_yaml(path), str(path))
    return config.model_copy(update={"train": config.train.model_copy(update={"device": device})})


if __name__ == "__main__":
    messages = LineReporter(own_output())
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2], messages))
    except InterruptedRun:
        sys.exit(130)
    except UserError as error:
        messages.send({"error": str(error)})
        sys.exit(2)
