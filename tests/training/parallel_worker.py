"""One of several processes that a test starts: trains runs one after another, and is asked to stop where the test says.

    torchrun --nproc-per-node 2 tests/training/parallel_worker.py RUNS.json

RUNS.json is a list of {"config": changes of the tiny configuration, "out": folder, "stop": step or null, "rank": who is asked,
"kill": file that says that this has happened, for a SIGKILL instead}. "foreign" instead of a list: a loop of one's own.
Each writes RUNS.json.RANK, and how many threads of groups there are at the end to RUNS.json.RANK.threads.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sadm.core.errors import InterruptedRun, UserError
from sadm.structure import HiddenStructure, StructureGame
from sadm.training.learner import Learner
from sadm.training.parallel.team import team_for
from sadm.training.run import train
from tiny import tiny_config, tiny_images


def stopping(step: int | None, rank: int, kill: str | None) -> None:
    """From now on, process `rank` gets a SIGTERM after that step, or a SIGKILL if it has not had one yet."""
    advance = Learner.advance

    def watched(self: Learner) -> Any:
        found = advance(self)
        if self.step == step and self.team.rank == rank:
            if kill is None:
                os.kill(os.getpid(), signal.SIGTERM)
            elif not Path(kill).exists():
                Path(kill).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return found

    Learner.advance = watched  # type: ignore[method-assign]


def run_all(runs: list[dict[str, Any]]) -> list[str]:
    """Trains them; returns how each ended."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    ends, advance = [], Learner.advance
    for each in runs:
        stopping(each.get("stop"), each.get("rank", 0), each.get("kill"))
        try:
            train(tiny_config(**each["config"]), each["out"], images=tiny_images())
            ends.append("finished")
        except (InterruptedRun, UserError) as error:
            ends.append(f"{type(error).__name__}: {error}")
        finally:
            Learner.advance = advance  # type: ignore[method-assign]
    return ends


def foreign_loop(rank: int, count: int) -> list[float]:
    """The weights after a few steps of somebody's own loop with both forms of structure, under DDP where there are several."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.SiLU(), nn.Conv2d(6, 1, 3, padding=1))
    encoder = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.SiLU(), nn.Flatten(), nn.Linear(36, 5))
    features = nn.Conv2d(1, 5, 3, padding=1)
    game = StructureGame(encoder, adversary="ascend", learning_rate=1e-2, ratio=0.6, k_max=5.0)
    hidden = HiddenStructure(features, net[1], weight=2.0, ratio=0.5)
    model = DistributedDataParallel(net) if count > 1 else net
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        x0, noise, sigma = torch.rand(12, 1, 8, 8), torch.randn(12, 1, 8, 8), torch.rand(12) + 0.1
        x0, noise, sigma = (part[rank * 12 // count : (rank + 1) * 12 // count] for part in (x0, noise, sigma))
        x0_hat = model(x0 + sigma.reshape(-1, 1, 1, 1) * noise)
        loss = (x0_hat - x0).square().mean()
        optimiser.zero_grad()
        (loss + game(loss, x0, x0_hat, sigma) + hidden(x0, loss)).backward()
        optimiser.step()
    return [value for part in (*net.parameters(), *encoder.parameters()) for value in part.detach().flatten().tolist()]


def threads_of_groups() -> int | None:
    """How many threads of this process work for groups of processes; None where the system does not tell."""
    tasks = Path("/proc/self/task")
    if not tasks.exists():
        return None
    return sum((task / "comm").read_text().startswith("pt_gloo_runloop") for task in tasks.iterdir())


def main(path: str) -> int:
    """Does what is asked, tells it, and returns this process's rank."""
    with team_for("cpu") as team:
        asked = json.loads(Path(path).read_text())
        told: Any = foreign_loop(team.rank, team.count) if asked == "foreign" else run_all(asked)
        Path(f"{path}.{team.rank}").write_text(json.dumps(told))
        assert threads_of_groups() != 0  # what is counted does exist
        return team.rank


if __name__ == "__main__":
    rank = main(sys.argv[1])
    Path(f"{sys.argv[1]}.{rank}.threads").write_text(json.dumps(threads_of_groups()))
