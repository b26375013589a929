"""24 hours' worth of steps of a small recipe, compressed: neither memory nor open files grow."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.faults.command import Host
from benchmarks.faults.smallest import write_config

STEPS = 100_000
WARM_UP = 0.1
GROWTH_MIB = 4.0
"""What the resident set may differ by between the tenth after the warm-up and the last tenth: pages come and go."""
_SECONDS = 1.0
_KEPT = 50
CHANGE: dict[str, Any] = {
    "net": {"width": 8, "heads": 1},
    "optimiser": {"batch": 2},
    "structure": {"every": 10, "memory": 8},
}


def measure(
    host: Host, folder: Path, steps: int, say: Callable[[str], None], seconds: float = _SECONDS
) -> dict[str, Any]:
    """Trains for `steps` steps in one process, with 50 checkpoints, and looks at it from outside now and then.

    Returns:
        Steps, looks, resident MiB after the warm-up and at the end, open files likewise, and the course.
    """
    often = max(1, steps // 100)
    change = {**CHANGE, "optimiser": {**CHANGE["optimiser"], "steps": steps}}
    change["log"] = {"every": often, "checkpoint_every": 2 * often}
    config = write_config(folder / "memory.yaml", **change)
    run = folder / "memory"
    running = host.start("train", "--config", config, "--out", run)
    looks: list[tuple[int, float, int]] = []
    ended, told = None, 0.0
    while ended is None:
        ended = running.wait(seconds)
        look = _look(running.child, run, often)
        if ended is None and look is not None:
            looks.append(look)
            if time.monotonic() - told > 60:
                told = time.monotonic()
                say(f"memory: step {look[0]} of {steps}, {look[1]:.1f} MiB, {look[2]} open files")
    if ended.code:
        raise RuntimeError(f"the long training ended with {ended.code}: {ended.output[-500:]}")
    return summarised(looks, steps)


def summarised(looks: list[tuple[int, float, int]], steps: int) -> dict[str, Any]:
    """Medians of the tenth after the warm-up and of the last tenth."""
    early = [look for look in looks if WARM_UP * steps <= look[0] < 2 * WARM_UP * steps] or looks[:1]
    late = [look for look in looks if look[0] >= (1 - WARM_UP) * steps] or looks[-1:]
    resident = [statistics.median(look[1] for look in part) for part in (early, late)]
    files = [int(statistics.median(look[2] for look in part)) for part in (early, late)]
    growth = resident[1] - resident[0]
    return {
        "steps": steps,
        "looks": len(looks),
        "resident_mib": {"after_warm_up": round(resident[0], 1), "end": round(resident[1], 1)},
        "growth_mib": round(growth, 2),
        "open_files": {"after_warm_up": files[0], "end": files[1]},
        "grew": growth > GROWTH_MIB or files[1] > files[0],
        "course": [[step, round(mib, 1), count] for step, mib, count in looks[:: max(1, len(looks) // _KEPT)]],
    }


def _look(process: int, run: Path, often: int) -> tuple[int, float, int] | None:
    """Steps logged, resident MiB, open files; None where the process has gone or has logged nothing yet."""
    try:
        status = Path(f"/proc/{process}/statm").read_text("utf-8").split()
        files = len(list(Path(f"/proc/{process}/fd").iterdir()))
        lines = (run / "metrics.jsonl").read_bytes().count(b"\n")
    except OSError:
        return None
    return (lines * often, int(status[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20, files) if lines else None
