"""A job in a process of its own: ``python -m benchmarks.peers.worker FOLDER``, with the contestant's interpreter.

Answers with lines of JSON on standard output: progress, then "finished", or "error".
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers.contestant import find
from benchmarks.peers.plan import Job
from benchmarks.peers.training import run_job
from benchmarks.peers.workplace import Workplace
from sadm.core.errors import InterruptedRun, UserError
from sadm.core.files import read_json
from sadm.data import ImageSet

JOB, DATA = "job.json", "data.npz"
SECONDS_BETWEEN_LINES = 1.0


class Lines:
    """Progress as lines of JSON, now and then."""

    def __init__(self) -> None:
        self.last = 0.0

    def __call__(self, stage: str, done: int, total: int, note: str) -> None:
        if time.monotonic() - self.last > SECONDS_BETWEEN_LINES or done == total:
            self.last = time.monotonic()
            send({"stage": stage, "done": done, "total": total, "note": note})


def send(message: dict[str, Any]) -> None:
    """Writes one message."""
    print(json.dumps(message), flush=True)


def read_images(path: Path) -> ImageSet:
    """The training images, as the harness wrote them."""
    arrays = np.load(path, allow_pickle=False)
    names = tuple(map(str, range(len(arrays["images"]))))
    classes = tuple(map(str, arrays["class_names"]))
    return ImageSet(torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"]), classes, names, "peers")


def place_in(folder: Path) -> Workplace:
    """The job that `folder` was made for; from here on, this process has one thread."""
    torch.set_num_threads(1)
    job = Job.from_dict(read_json(folder / JOB)["job"])
    return Workplace(job, find(job.contestant), read_images(folder.parent / DATA), folder, Lines())


def main(folder: Path) -> None:
    """Does what is missing of the job in `folder`."""
    place, order = place_in(folder), read_json(folder / JOB)
    samplers = {name: place.contestant.samplers[name] for name in order["samplers"]}
    run_job(place, samplers, torch.tensor(order["labels"]))
    send({"finished": place.job.name})


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except InterruptedRun:
        sys.exit(130)
    except UserError as error:
        send({"error": str(error)})
        sys.exit(2)
