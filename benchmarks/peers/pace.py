"""What a step costs, in CPU-seconds: measured before a job, or in turns with the others (see `costs`)."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.peers.contestant import Training
from benchmarks.peers.workplace import Workplace
from sadm.core.errors import InterruptedRun
from sadm.core.files import read_json, write_json
from sadm.core.stopping import StopRequest

CALIBRATION = "calibration.json"
CALIBRATION_SECONDS = 60.0
LEAST_STEPS, MOST_STEPS = 4, 600
WARM = 1
DISTURBED = 3.0  # a step that took this many times the median was disturbed

Calibration = dict[str, float]
"""``setup_seconds``, ``seconds_per_step``, and of how many ``steps``; ``corrected`` or ``in_turns`` where it is that."""


class Pace:
    """The cost of a step, on average over a whole schedule that is shortened to a few steps; it may be gone through in stretches.

    Args:
        place: the job.
        least: steps, at least.
    """

    def __init__(self, place: Workplace, least: int = LEAST_STEPS) -> None:
        first = place.start(WARM + 1)
        seconds = [timed(first) for _ in range(WARM + 1)]  # the first calls are slow
        limit = min(CALIBRATION_SECONDS, place.job.budget / 10)
        self.steps = min(MOST_STEPS, max(least, round(limit / seconds[-1])))
        self.training = place.start(self.steps)
        self.seconds: list[float] = []

    @property
    def left(self) -> int:
        """Steps to go."""
        return self.steps - len(self.seconds)

    def advance(self) -> float:
        """The next step; returns its CPU-seconds."""
        self.seconds.append(timed(self.training))
        return self.seconds[-1]

    def found(self) -> Calibration:
        """What was measured so far."""
        return {
            "setup_seconds": self.training.setup_seconds,
            "seconds_per_step": undisturbed_mean(self.seconds),
            "steps": len(self.seconds),
        }


def calibrate(place: Workplace, stop: StopRequest) -> Calibration:
    """What a job's steps cost; measured once and stored in its folder.

    Raises:
        InterruptedRun: stopped by Ctrl-C or SIGTERM; it begins anew.
    """
    path = place.folder / CALIBRATION
    if path.exists():
        stored: Calibration = read_json(path)
        return stored
    place.progress("calibration", 0, 1, "")
    pace = Pace(place)
    while pace.left:
        if stop.requested:
            raise InterruptedRun("Stopped before the first step, while the cost of a step was measured.")
        pace.advance()
    write_json(path, pace.found())
    return pace.found()


def undisturbed_mean(seconds: list[float]) -> float:
    """Mean over steps, without those that something else on the machine disturbed."""
    values = np.array(seconds)
    return float(values[values <= DISTURBED * np.median(values)].mean())


def timed(training: Training) -> float:
    """CPU-seconds of a step."""
    start = time.process_time()
    training.advance()
    return time.process_time() - start
