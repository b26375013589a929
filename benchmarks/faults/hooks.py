"""What can be planted in a process before its command runs. The library itself knows nothing of it."""

from __future__ import annotations

import errno
import faulthandler
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

_CHANGES = (
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.truncate",
    "os.link",
    "tempfile.mkstemp",
    "tempfile.mkdtemp",
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def stack(file: str) -> None:
    """On SIGUSR1 the stack of the main thread is written to `file`."""
    faulthandler.register(signal.SIGUSR1, open(file, "w", encoding="utf-8"), all_threads=False)  # noqa: SIM115 - for good


def die_at(under: str, at: int) -> None:
    """Kills the process just before the `at`-th change of a file (from 0) below the folder `under`."""

    def act(number: int, path: str) -> None:
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)

    _watch(under, act)


def full_from(under: str, at: int) -> None:
    """From the `at`-th change of a file below `under` on, there is no space left; what frees space still works."""

    def act(number: int, path: str) -> None:
        if number >= at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    _watch(under, act, freeing=False)


def list_changes(under: str, file: str) -> None:
    """Writes to `file` a line for each change below `under` that needs space, in the order in which `full_from` counts them."""
    out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    _watch(under, lambda number, path: os.write(out, f"{path}\n".encode()), freeing=False)


def largest_file(size: int) -> None:
    """No file may become larger than `size` bytes, but for the log."""
    reading, writing = os.pipe()
    if not os.fork():
        os.close(writing)
        with open(reading, "rb") as pipe, open(1, "wb", closefd=False) as out:
            out.write(pipe.read())
        os._exit(0)
    for stream in (1, 2):
        os.dup2(writing, stream)
    os.close(writing)
    os.close(reading)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def clock(jumps: list[float]) -> None:
    """All clocks jump by one of `jumps` seconds at every reading, in turn, on top of the right time."""
    state = {"at": 0}

    def jumping(right: Callable[[], float]) -> Callable[[], float]:
        def read() -> float:
            state["at"] += 1
            return right() + jumps[state["at"] % len(jumps)]

        return read

    for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
        setattr(time, name, jumping(getattr(time, name)))
    for name in ("time_ns", "monotonic_ns", "perf_counter_ns", "process_time_ns"):
        seconds = getattr(time, name.removesuffix("_ns"))
        setattr(time, name, lambda seconds=seconds: int(seconds() * 1e9))


def poison(what: str, at: int, value: str, times: int = 1) -> None:
    """Plants NaN or infinity; see `benchmarks.faults.poisons`."""
    from benchmarks.faults.poisons import POISONS

    POISONS[what](at, float(value), times)


def _watch(under: str, act: Callable[[int, str], Any], freeing: bool = True) -> None:
    """Calls `act` with 0, 1, … and the path just before each change of a file below `under`."""
    state: dict[str, Any] = {"count": 0, "inside": False}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if state["inside"] or not _changes(event, arguments, under, freeing):
            return
        state["inside"] = True
        try:
            state["count"] += 1
            act(state["count"] - 1, os.fsdecode(arguments[0]))
        finally:
            state["inside"] = False

    sys.addaudithook(hook)


def _changes(event: str, arguments: tuple[Any, ...], under: str, freeing: bool) -> bool:
    if event == "open":
        path, _, flags = arguments
        return isinstance(path, (str, bytes)) and bool(flags & _WRITING) and _below(path, under)
    if event not in _CHANGES or (not freeing and event in ("os.remove", "os.rmdir", "os.rename", "os.truncate")):
        return False
    return _below(arguments[0], under)


def _below(path: Any, under: str) -> bool:
    return isinstance(path, (str, bytes, os.PathLike)) and os.path.abspath(os.fsdecode(path)).startswith(under)


HOOKS: dict[str, Callable[..., None]] = {
    hook.__name__: hook for hook in (stack, die_at, full_from, list_changes, largest_file, clock, poison)
}
