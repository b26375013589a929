"""A worker of a comparison or a sweep: ``python -m sadm.experiments.worker FOLDER DEVICE``.

Reads one job a line from standard input and answers each with lines of JSON on standard output: progress, then "finished".
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sadm.core.config import build_config, read_yaml
from sadm.core.errors import InterruptedRun, UserError

if TYPE_CHECKING:
    from sadm.experiments.config import Experiment


class LineReporter:
    """Reports as lines of JSON on standard output."""

    def __init__(self) -> None:
        self.job = ""

    def update(self, task: str, done: int, total: int, note: str = "") -> None:
        self.send({"progress": f"{self.job} {task}", "done": done, "total": total, "note": note})

    def say(self, text: str) -> None:
        self.send({"say": f"{self.job}: {text}"})

    def send(self, message: dict[str, Any]) -> None:
        """Writes one message."""
        print(json.dumps(message), flush=True)


def main(folder: Path, device: str) -> int:
    """Works until standard input ends; returns the exit code."""
    from sadm.experiments.jobs import Laboratory
    from sadm.experiments.plan import RunJob
    from sadm.experiments.poc.measuring import measure_in_worker

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # outside training there is nothing to save
    reporter = LineReporter()
    laboratory = None
    for line in sys.stdin:
        order = json.loads(line)
        reporter.job = order["name"]
        laboratory = laboratory or Laboratory(_config(folder, device), folder, reporter)
        if "run" in order:
            laboratory.run(RunJob(**order["run"]))
        elif "speed" in order:
            measure_in_worker(laboratory, order["speed"], order["seconds"])
        else:
            laboratory.measure_costs(order["measure"])
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
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
    except InterruptedRun:
        sys.exit(130)
    except UserError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        sys.exit(2)
