"""A comparison that takes seconds, and how its results are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sadm.core.config import build_config
from sadm.experiments.config import CompareConfig

STEPS = 40
TINY: dict[str, Any] = {
    "train": {
        "data": {"source": "digits", "held_out": 0.4},
        "net": {"patch": 4, "width": 16, "depth": 1, "heads": 2},
        "optimiser": {"steps": STEPS, "batch": 8, "warmup_steps": 2},
        "structure": {"encoder_steps": 2, "encoder_width": 4, "encoder_batch": 8},
        "sampling": {"steps": 2},
        "log": {"every": 10, "samples": 0},
    },
    "arms": {"plain": {"signal": "none"}, "sadm": {"signal": "structure"}},
    "seeds": [100],
    "groups": 1,
    "cost_steps": 20,
    "jobs": 1,
}
PLAIN, SADM = {"signal": "none"}, {"signal": "structure"}
HIDDEN = {"signal": "hidden"}
FROZEN = {"signal": "structure", "structure": {"adversary": "frozen"}}
WILD = {"signal": "none", "optimiser": {"learning_rate": 1e30}}  # its weights overflow at once


def tiny(**change: Any) -> CompareConfig:
    """The tiny comparison of plain training and SADM, with other values at its top."""
    return build_config(CompareConfig, {**TINY, **change}, "test")


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """Stored results by run."""
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("runs/*/result.json")}
