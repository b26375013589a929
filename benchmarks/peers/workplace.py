"""Where a job is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers.contestant import Contestant, Task, Training, changes_of
from benchmarks.peers.plan import Job
from sadm.data import ImageSet

Progress = Callable[[str, int, int, str], None]


@dataclasses.dataclass(frozen=True)
class Workplace:
    """What the stages of a job share.

    Attributes:
        job: what is to be done.
        contestant: by whom.
        images: the training images.
        folder: the job's.
        progress: called with (stage, done, total, note).
    """

    job: Job
    contestant: Contestant
    images: ImageSet
    folder: Path
    progress: Progress

    def start(self, steps: int, restored: bool = False) -> Training:
        """A training of `steps` steps, not begun."""
        job, changes = self.job, changes_of(self.contestant, self.job.variants)
        return self.contestant.start(
            Task(self.images, job.size, job.learning_rate, job.seed, steps, job.budget, restored, changes)
        )
