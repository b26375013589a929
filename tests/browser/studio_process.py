"""A studio of its own process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

PATIENCE = 120_000
"""Milliseconds that a test waits for what is to happen; nothing here measures time."""


class serving:  # noqa: N801 - reads as a word
    """A studio as a process, until the block ends."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.command = [sys.executable, "-m", "sadm", "studio", f"--folder={folder}", f"--port={port}", *options]
        self.address = f"http://127.0.0.1:{port}"

    def __enter__(self) -> str:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE / 1000
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(self.address, timeout=5).close()  # noqa: S310 - our own address
            except urllib.error.HTTPError:
                return self.address  # it answers, if only to ask for a password
            except OSError:
                time.sleep(0.3)
            else:
                return self.address
        raise AssertionError(f"the studio did not start: {' '.join(self.command)}")

    def __exit__(self, *error: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60)
