"""No space left at each kind of write, on a small disk, in files that may not grow, and in folders that may not be written to."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults.book import Book, Case
from benchmarks.faults.command import Ended, Host
from benchmarks.faults.kills import resumed
from benchmarks.faults.subjects import OUT, Inputs, Outcome, Subject, fresh, reference, subjects

KIB = (4, 16, 40, 80, 120, 160, 220, 300)
"""Sizes of the small disk; the smallest training needs more than the largest."""
FILE_BYTES = (0, 700, 3000, 20_000, 60_000)
"""Sizes that no file may exceed."""
_RANDOM = re.compile(r"\.[a-z0-9_]{8}\.tmp|\d+|\.[\w-]+\.\d+$")
_ENOUGH = "64m"
_LATER, _POLL = 20.0, 0.05


def run(host: Host, folder: Path, book: Book, names: tuple[str, ...] = ("train", "encode")) -> list[Case]:
    """All of it, for the commands of these names."""
    inputs = Inputs(host, folder.parent / "inputs")
    cases = []
    for name in names:
        subject = subjects(inputs)[name]
        for site, at in sites(host, folder, subject).items():
            full = lambda subject=subject, at=at: _injected(host, folder, subject, at)  # noqa: E731
            cases.append(book.case(f"{name}, no space for {site}", full))
    training = subjects(inputs)["train"]
    for size in FILE_BYTES:
        large = lambda size=size: _file_limit(host, folder, training, size)  # noqa: E731
        cases.append(book.case(f"train, no file above {size} bytes", large))
    if not may_mount(folder / "disk"):
        return cases
    for size in KIB:
        small = lambda size=size: _small_disk(host, folder, training, f"size={size}k")  # noqa: E731
        cases.append(book.case(f"train, a disk of {size} KiB", small))
    cases.append(book.case("train, a read-only disk", lambda: _small_disk(host, folder, training, "ro")))
    return cases


def sites(host: Host, folder: Path, subject: Subject) -> dict[str, int]:
    """The first change of each kind of file, by number: what is written where, numbers and random names left out."""
    place, log = fresh(folder / "counted", subject), folder / "changes.txt"
    hook = ("list_changes", {"under": str(place / OUT), "file": str(log)})
    host.run(*subject.arguments(place), hooks=[hook])
    found: dict[str, int] = {}
    for number, line in enumerate(log.read_text("utf-8").splitlines()):
        found.setdefault(_RANDOM.sub("#", line.replace(f"{place / OUT}", "out")), number)
    return found


def _injected(host: Host, folder: Path, subject: Subject, at: int) -> Case:
    expected, _ = reference(subject, host, folder.parent / "reference")
    place = fresh(folder / "full", subject)
    hook = ("full_from", {"under": str(place / OUT), "at": at})
    ended = host.run(*subject.arguments(place), hooks=[hook])
    return _judged(host, subject, place, expected, ended, ("disk is full",))


def _file_limit(host: Host, folder: Path, subject: Subject, size: int) -> Case:
    expected, _ = reference(subject, host, folder.parent / "reference")
    place = fresh(folder / "full", subject)
    running = host.start(*subject.arguments(place), hooks=[("largest_file", {"size": size})])
    ended, deadline = running.end(), time.monotonic() + _LATER
    while not ended.output and time.monotonic() < deadline:  # what it printed comes through another process
        time.sleep(_POLL)
        ended = dataclasses.replace(ended, output=running.log.read_text("utf-8", errors="replace"))
    return _judged(host, subject, place, expected, ended, ("larger than this shell",))


def _small_disk(host: Host, folder: Path, subject: Subject, options: str) -> Case:
    expected, _ = reference(subject, host, folder.parent / "reference")
    with _mounted(folder / "disk", options) as place:
        ended = host.run(*subject.arguments(place))
        subprocess.run(["mount", "-o", f"remount,rw,size={_ENOUGH}", str(place)], check=True)  # noqa: S603, S607
        return _judged(host, subject, place, expected, ended, ("disk is full", "read-only"))


def _judged(host: Host, subject: Subject, place: Path, expected: Outcome, ended: Ended, words: tuple[str, ...]) -> Case:
    """What was said, what was left lying about, and what the same command comes to once there is space."""
    failures = []
    if ended.code != 2 or ended.crashed:
        failures.append(f"ended with {ended.code}: {ended.output[-300:]}")
    elif not any(word in ended.output for word in words):
        failures.append(f"not said: {ended.output[-300:]}")
    failures += [f"left {path.name}" for path in (place / OUT).rglob("*.tmp")] if (place / OUT).exists() else []
    again = resumed(host, subject, place, expected)
    return {
        "full": 1,
        "said": int(not failures),
        "resumes": again["resumes"],
        "bit_equal": again["bit_equal"],
        "failures": failures + again["failures"],
    }


def may_mount(folder: Path) -> bool:
    """Whether this user may mount a small file system."""
    if shutil.which("mount") is None:
        return False
    try:
        with _mounted(folder, "size=64k"):
            return True
    except subprocess.CalledProcessError:
        return False


@contextlib.contextmanager
def _mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S603, S607
