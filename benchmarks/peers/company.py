"""Keeps processors busy that have no job, so that a CPU-second buys the same whether one job runs or all do.

Two of a machine's processors often are one core's two threads: beside an idle neighbour a step takes fewer CPU-seconds, and a job
that was calibrated alone would be given more steps for the same budget than the others.
"""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.common import ROOT
from benchmarks.peers.environment import of_one_thread

MODULE = "benchmarks.peers.company"
BATCH, TOKENS, WIDTH = 64, 49, 64  # of the work: what a small network of these contestants does


class Company:
    """Processes that do useless work at the lowest priority."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    def keep(self, count: int) -> None:
        """Has exactly so many of them run."""
        while len(self.processes) > count:
            process = self.processes.pop()
            process.kill()
            process.wait()
        while len(self.processes) < count:
            self.processes.append(
                subprocess.Popen(  # noqa: S603 - our own module
                    [sys.executable, "-m", MODULE, str(os.getpid())],
                    env=of_one_thread(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd=ROOT,
                    start_new_session=True,
                )
            )


def work(parent: int) -> None:
    """Matrix products and what lies between them, until the process `parent`, which asked for it, is gone."""
    import torch

    torch.set_num_threads(1)
    layer = torch.nn.Sequential(torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.GELU(), torch.nn.Linear(4 * WIDTH, WIDTH))
    tokens = torch.randn(BATCH, TOKENS, WIDTH)
    while os.getppid() == parent:
        layer(tokens).square().mean().backward()
        layer.zero_grad()


if __name__ == "__main__":
    os.nice(19)
    work(int(sys.argv[1]))
