"""Two in one folder, a lock that a killed process leaves, and polite stops."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np

from benchmarks.faults.book import Book, Case
from benchmarks.faults.command import Host, Running
from benchmarks.faults.kills import resumed
from benchmarks.faults.smallest import differences
from benchmarks.faults.subjects import OUT, Inputs, Outcome, Subject, fresh, reference, subjects

GRACE = 30.0
"""Seconds between SIGTERM and SIGKILL that schedulers give (the default of Kubernetes)."""
STOPS = 8
SEED = 10
_POLL, _LONGEST = 0.02, 60.0


def run(host: Host, folder: Path, book: Book, stops: int = STOPS) -> list[Case]:
    """A second training and a second encoding, a stale lock, and SIGTERM at random moments of a training."""
    found = subjects(Inputs(host, folder.parent / "inputs"))
    names = ("train", "encode")
    cases = [book.case(f"two, {name}", lambda name=name: _two(host, folder, found[name])) for name in names]  # type: ignore[misc]
    cases.append(book.case("stale lock, train", lambda: _stale(host, folder, found["train"])))
    for number, share in enumerate(np.random.default_rng(SEED).uniform(0.1, 0.95, stops)):
        term = lambda share=float(share): _terminated(host, folder, found["train"], share)  # noqa: E731
        cases.append(book.case(f"SIGTERM {number}", term))
    return cases


def _two(host: Host, folder: Path, subject: Subject) -> Case:
    """The second is refused while the first, which is halted, holds the folder; the first then comes to what it should."""
    expected, place, first = _locking(host, folder, subject)
    first.kill(signal.SIGSTOP)
    second = host.run(*subject.arguments(place))
    first.kill(signal.SIGCONT)
    ended = first.end()
    refused = second.code == 2 and "another process is" in second.output and not second.crashed
    failures = [] if refused else [f"the second ended with {second.code}: {second.output[-300:]}"]
    failures += (
        [f"the first ended with {ended.code}"] if ended.code else differences(subject.outcome(place), expected)[:3]
    )
    return {"second_runs": 1, "refused": int(refused), "failures": failures}


def _stale(host: Host, folder: Path, subject: Subject) -> Case:
    expected, place, first = _locking(host, folder, subject)
    first.kill(signal.SIGKILL)
    first.end()
    failures = [] if (place / OUT / ".lock").exists() else ["the killed process left no lock"]
    return {"stale_locks": 1, "failures": failures + resumed(host, subject, place, expected)["failures"]}


def _terminated(host: Host, folder: Path, subject: Subject, share: float) -> Case:
    """SIGTERM at a share of the undisturbed time: saves and ends within the grace, and the same command goes on."""
    expected, seconds = reference(subject, host, folder.parent / "reference")
    place = fresh(folder / "two", subject)
    running = host.start(*subject.arguments(place))
    early, before, start = running.wait(share * seconds), running.spent(), time.monotonic()
    running.kill(signal.SIGTERM)
    ended = early or running.end()
    took, spent, failures = time.monotonic() - start, ended.spent - before, []
    if spent > GRACE:  # a busy machine may take longer by the clock, which is counted alone
        failures.append(f"took {spent:.0f} processor seconds after SIGTERM")
    saved = ended.code == 130 and "run the same command" in ended.output and not ended.crashed
    if not saved and ended.code not in (0, -signal.SIGTERM):  # it had finished, or had not begun to train
        failures.append(f"ended with {ended.code}: {ended.output[-300:]}")
    failures += resumed(host, subject, place, expected)["failures"]
    return {"terminated": 1, "saved": int(saved), "seconds_to_end": round(took, 2), "failures": failures}


def _locking(host: Host, folder: Path, subject: Subject) -> tuple[Outcome, Path, Running]:
    """What the command comes to undisturbed, and one in a fresh folder that has its lock."""
    expected, _ = reference(subject, host, folder.parent / "reference")
    place = fresh(folder / "two", subject)
    first = host.start(*subject.arguments(place))
    deadline = time.monotonic() + _LONGEST
    while not (place / OUT / ".lock").exists() and time.monotonic() < deadline:
        time.sleep(_POLL)
    return expected, place, first
