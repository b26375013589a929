"""Progress over all domains as one bar, in planned seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sadm.core.progress import Reporter

RUNS_A_SEED = 3  # plain, structure-guided at equal steps, and at equal cost


class Overall:
    """Passes reports on, and says how far everything is.

    Args:
        reporter: told about both.
    """

    TASK = "all domains"

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.weights: Mapping[str, float] = {}
        self.finished, self.total = 0.0, 1

    def ahead(self, weights: Mapping[str, float], later: float) -> None:
        """What comes next: planned seconds of each domain, and of all that follows them."""
        self.weights = weights
        self.total = max(1, round(self.finished + sum(weights.values()) + later))

    @contextmanager
    def domain(self, name: str, seeds: int) -> Iterator[Reporter]:
        """A reporter for the work on one domain, which has so many seeds to train."""
        self._show(name, 0.0)
        yield _Inner(self, name, RUNS_A_SEED * seeds)
        self.finished += self.weights[name]
        self._show(name, 0.0)

    def show(self, name: str, share: float) -> None:
        """Says how far everything is, with a share of one domain done."""
        self._show(name, share * self.weights[name])

    def _show(self, name: str, seconds: float) -> None:
        self.reporter.update(self.TASK, min(self.total, round(self.finished + seconds)), self.total, name)


class _Inner:
    """Reports of one domain's comparison."""

    def __init__(self, overall: Overall, name: str, runs: int) -> None:
        self.overall, self.name, self.left = overall, name, runs
        self.done, self.best = 0, 0.0
        self.training: dict[str, float] = {}

    def update(self, task: str, done: int, total: int, note: str = "") -> None:
        if task == "runs":
            self.done = self.left - (total - done)  # runs of seeds that were there before count as done
        elif task.endswith(" training"):
            self.training[task] = done / max(total, 1)
            self.training = {name: share for name, share in self.training.items() if share < 1}
        share = (self.done + sum(self.training.values())) / max(self.left, 1)
        self.best = max(self.best, min(0.99, share))
        self.overall.show(self.name, self.best)
        self.overall.reporter.update(f"{self.name}: {task}", done, total, note)

    def say(self, text: str) -> None:
        self.overall.reporter.say(f"{self.name}: {text}")
