"""Clocks that jump, and files whose times lie: neither results nor resumption change."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.faults.book import Book, Case
from benchmarks.faults.command import Host
from benchmarks.faults.kills import resumed
from benchmarks.faults.smallest import differences
from benchmarks.faults.subjects import OUT, Inputs, Subject, fresh, reference, subjects

DAY = 86400.0
JUMPS = {
    "a day back and forth": [0.0, DAY, 0.0, -DAY],
    "a year ahead": [365 * DAY],
    "back at every reading": [-float(second) for second in range(1, 1000)],
}
TIMES = {"files from 1980": 315_600_000.0, "files from 2100": 4_102_500_000.0}
_STOP = 30
"""A change of a file in the middle of the run, before which it is killed."""


def run(host: Host, folder: Path, book: Book, names: tuple[str, ...] = ("train", "encode")) -> list[Case]:
    """Whole under each of `JUMPS`; killed and gone on with under each, and after each of `TIMES`."""
    inputs = Inputs(host, folder.parent / "inputs")
    cases = []
    for subject in (subjects(inputs)[name] for name in names):
        for title, jumps in JUMPS.items():
            whole = lambda subject=subject, jumps=jumps: _whole(host, folder, subject, jumps)  # noqa: E731
            cases.append(book.case(f"{subject.name}, {title}", whole))
    subject = subjects(inputs)["train"]
    for title in (*JUMPS, *TIMES):
        parts = lambda title=title: _in_parts(host, folder, subject, title)  # noqa: E731
        cases.append(book.case(f"train killed and gone on with, {title}", parts))
    return cases


def _whole(host: Host, folder: Path, subject: Subject, jumps: list[float]) -> Case:
    expected, _ = reference(subject, host, folder.parent / "reference")
    place = fresh(folder / "jumping", subject)
    ended = host.run(*subject.arguments(place), hooks=[("clock", {"jumps": jumps})])
    if ended.code:
        return {"clocks": 1, "bit_equal": 0, "failures": [f"ended with {ended.code}: {ended.output[-300:]}"]}
    differing = differences(subject.outcome(place), expected)
    return {"clocks": 1, "bit_equal": int(not differing), "failures": differing[:3]}


def _in_parts(host: Host, folder: Path, subject: Subject, title: str) -> Case:
    expected, _ = reference(subject, host, folder.parent / "reference")
    place = fresh(folder / "jumping", subject)
    hooks = [("die_at", {"under": str(place / OUT), "at": _STOP})]
    if title in JUMPS:
        hooks.append(("clock", {"jumps": JUMPS[title]}))
    host.run(*subject.arguments(place), hooks=hooks)
    for path in place.rglob("*") if title in TIMES else ():
        os.utime(path, (TIMES[title], TIMES[title]))
    case = resumed(host, subject, place, expected)
    return {"clocks": 1, "bit_equal": case["bit_equal"], "failures": case["failures"]}
