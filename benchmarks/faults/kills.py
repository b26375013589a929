"""kill -9 at random moments and before chosen changes of files; then the same command again."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.book import Book, Case
from benchmarks.faults.command import Host, Stuck, children
from benchmarks.faults.smallest import differences, not_finite
from benchmarks.faults.subjects import OUT, Inputs, Outcome, Subject, fresh, reference, subjects

SEED = 9
MOMENTS = {"train": 28, "evaluate": 8, "encode": 8, "compare": 6}
"""Kills of each command: 50."""
PHASES = (
    ("save_checkpoint", "saving a checkpoint"),
    ("save_model", "saving the model"),
    ("write_grid", "drawing samples"),
    ("_export", "drawing samples"),
    ("write_metadata", "saving"),
    ("measure_costs", "measuring cost"),
    ("prepare_signals", "pre-training the encoder"),
    ("advance", "training"),
    ("_loop", "training"),
    ("encode_images", "caching latents"),
    ("_judge", "judging a run"),
    ("evaluator_for", "fitting judges"),
    ("summarise", "comparing results"),
    ("write_outputs", "writing the report"),
    ("evaluate", "evaluating"),
    ("sample_for_judging", "evaluating"),
    ("open_run", "reading images"),
    ("split_for", "reading images"),
    ("open_source", "reading images"),
    ("parse", "starting"),
)
"""Functions on the stack, most telling first, and what a process is doing there."""
UNKNOWN = "unknown"
"""It did not answer in time."""
VICTIMS = ("all", "main", "worker")


def run(host: Host, folder: Path, book: Book, moments: dict[str, int] | None = None) -> list[Case]:
    """All kills at random moments, those before every change of a file, and what became of them."""
    inputs = Inputs(host, folder.parent / "inputs")
    cases = []
    for name, count in (MOMENTS if moments is None else moments).items():
        subject = subjects(inputs)[name]
        draws = np.random.default_rng([SEED, *name.encode()])
        for number, share in enumerate(draws.uniform(0.02, 0.98, count)):
            victim = VICTIMS[number % len(VICTIMS)] if name == "compare" else "all"
            killer = _Killer(host, folder, subject, victim)
            cases.append(book.case(f"{name} {number}", lambda killer=killer, share=share: killer.at_moment(share)))  # type: ignore[misc]
    return cases


class _Killer:
    def __init__(self, host: Host, folder: Path, subject: Subject, victim: str) -> None:
        self.host, self.folder, self.subject, self.victim = host, folder, subject, victim

    def at_moment(self, share: float) -> Case:
        """Kills at a share of the time that the command takes undisturbed; earlier where it has ended by then."""
        expected, seconds = reference(self.subject, self.host, self.folder.parent / "reference")
        delay = share * seconds
        while True:
            place = fresh(self.folder / "killed", self.subject)
            phase = self._kill_after(place, delay)
            if phase is not None:
                break
            delay *= 0.8
        return {"kills": 1, "phase": phase, "victim": self.victim, **self._resume(place, expected)}

    def _kill_after(self, place: Path, delay: float) -> str | None:
        """What the process was doing when it was killed; None where it had ended before."""
        stack = self.folder / "stack.txt"
        stack.unlink(missing_ok=True)
        running = self.host.start(*self.subject.arguments(place), hooks=[("stack", {"file": str(stack)})])
        time.sleep(delay)
        phase = phase_of(running.stack(stack))
        workers = children(running.child)
        if self.victim != "main":
            for worker in workers:
                worker.kill()
        if self.victim != "worker" or not workers:
            running.kill(signal.SIGKILL)
        ended = running.end()
        if self.victim == "worker" and workers:
            return "a worker's run" if ended.code == 2 and not ended.crashed else None
        return phase if ended.code == -signal.SIGKILL else None

    def _resume(self, place: Path, expected: Outcome) -> dict[str, Any]:
        return resumed(self.host, self.subject, place, expected)


def resumed(host: Host, subject: Subject, place: Path, expected: Outcome) -> dict[str, Any]:
    """Runs the same command again, and compares what it comes to with what it should."""
    poisoned = [f"not finite: {name}" for name in not_finite_in_checkpoints(place)]
    try:
        again = host.run(*subject.arguments(place))
    except Stuck as error:
        return {"resumes": 0, "bit_equal": 0, "failures": [*poisoned, str(error)]}
    if again.code or again.crashed:
        return {
            "resumes": 0,
            "bit_equal": 0,
            "failures": [*poisoned, f"resuming ended with {again.code}: {again.output[-400:]}"],
        }
    differing = differences(subject.outcome(place), expected)
    return {"resumes": 1, "bit_equal": int(not differing), "failures": poisoned + differing[:5]}


def not_finite_in_checkpoints(place: Path) -> list[str]:
    """Tensors of whole checkpoints that are not finite."""
    return [name for folder in sorted((place / OUT).rglob("step-*")) if folder.is_dir() for name in not_finite(folder)]


def phase_of(stack: str) -> str:
    """What a process was doing, from its stack."""
    functions = {line.rsplit(" in ", 1)[-1].strip() for line in stack.splitlines() if " in " in line}
    if not functions:
        return UNKNOWN
    return next((phase for function, phase in PHASES if function in functions), "other")
