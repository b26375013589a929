"""Processes that encode shards: pixels go there, and the content of shards comes back."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait

import torch

from sadm.core.errors import UserError
from sadm.training.moments import Layout

LAST_BYTES = 2000


@dataclasses.dataclass(frozen=True)
class Task:
    """What a process is told at its start.

    Attributes:
        autoencoder: its folder.
        shape: of one image, (C, H, W).
        layout: what is kept of each image.
    """

    autoencoder: str
    shape: tuple[int, int, int]
    layout: Layout

    def to_json(self) -> str:
        """As an argument of a command."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> Task:
        """What `to_json` gave."""
        values = json.loads(text)
        return Task(values["autoencoder"], tuple(values["shape"]), Layout(**values["layout"]))


def encode_in_processes(
    task: Task, orders: Iterator[tuple[int, torch.Tensor]], size: int, progress: Callable[[int], None]
) -> Generator[tuple[int, bytes], None, None]:
    """Number and content of each shard, as they become ready.

    Args:
        task: what the shards have in common.
        orders: number and images of each shard; asked for the next one whenever a process is free.
        size: number of processes.
        progress: called with the number of images of each batch.

    Raises:
        UserError: a process refused its images, or ended unexpectedly.
    """
    processes: dict[Connection, _Process] = {}
    try:
        for _ in range(size):
            process = _Process(task)
            processes[process.connection] = process
        idle = list(processes.values())
        while True:
            while idle and (order := next(orders, None)) is not None:
                idle.pop().begin(*order)
            busy = [process.connection for process in processes.values() if process.number is not None]
            if not busy:
                return
            for connection in wait(busy):
                process = processes[connection]  # type: ignore[index]
                number, content = process.number, process.receive(progress)
                if number is not None and content is not None:
                    idle.append(process)
                    yield number, content
    finally:
        for process in processes.values():
            process.end()


class _Process:
    """One process, and the number of the shard that it works on."""

    def __init__(self, task: Task) -> None:
        self.number: int | None = None
        self.connection, theirs = Pipe()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `end`
        command = [sys.executable, "-m", "sadm.training.encoding_worker", str(theirs.fileno()), task.to_json()]
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                command,
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C reaches the main process alone, which lets shards be finished
            )

    def begin(self, number: int, images: torch.Tensor) -> None:
        """Sends the images of a shard [N, C, H, W], uint8."""
        self.number = number
        try:
            self.connection.send_bytes(images.numpy().tobytes())
        except OSError as error:
            raise self._failure() from error

    def receive(self, progress: Callable[[int], None]) -> bytes | None:
        """Takes one message; the shard's content, if it is that."""
        try:
            message = json.loads(self.connection.recv_bytes())
            if "error" in message:
                raise UserError(message["error"])
            if "encoded" in message:
                progress(message["encoded"])
                return None
            content = self.connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._failure() from error
        self.number = None
        return content

    def end(self) -> None:
        """Ends the process; it has nothing to save."""
        self.connection.close()
        self.process.kill()
        self.process.wait()
        self.log.close()

    def _failure(self) -> UserError:
        code = self.process.wait()
        self.log.seek(0, os.SEEK_END)
        self.log.seek(max(0, self.log.tell() - LAST_BYTES))
        words = self.log.read().decode("utf-8", "replace").strip() or "nothing"
        return UserError(
            f"a process that encodes images ended unexpectedly (exit code {code}; -9 often means that memory ran out: use fewer "
            f"--workers). Finished shards are kept; run the same command to go on. Its last words: {words}"
        )
