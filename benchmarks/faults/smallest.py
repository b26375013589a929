"""The smallest runs that have all that a run has, and what of their results must not depend on what happened on the way."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from sadm.core.config import merge

SMALLEST: dict[str, Any] = {
    "signal": "structure",
    "data": {"source": "digits", "limit": 240},
    "net": {"patch": 4, "width": 16, "depth": 1, "heads": 2},
    "optimiser": {"steps": 16, "batch": 8, "warmup_steps": 2},
    "structure": {
        "encoder_steps": 6,
        "encoder_width": 4,
        "encoder_embedding": 8,
        "encoder_batch": 8,
        "learning_rate": 1e-3,
    },
    "sampling": {"steps": 2},
    "log": {"every": 2, "checkpoint_every": 4, "samples": 4},
}
TIMES = ("images_per_second", "cpu_seconds", "memory_mib")


def write_config(path: Path, **change: Any) -> Path:
    """Writes the smallest configuration, with nested changes, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(merge(SMALLEST, change)), encoding="utf-8")
    return path


def outcome_of_run(folder: Path) -> dict[str, Any]:
    """What a finished run must come to: hashes of its weights, its log without times, the files that it has."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    return {
        "weights": {str(path.relative_to(folder)): digest(path) for path in sorted(folder.rglob("*.safetensors"))},
        "pictures": {path.name: digest(path) for path in sorted((folder / "samples").glob("*.png"))},
        "log": [{name: value for name, value in line.items() if name not in TIMES} for line in lines],
        "files": files_of(folder),
    }


def files_of(folder: Path) -> list[str]:
    """Relative paths of all files and empty folders, but for TensorBoard's, whose names hold the time."""
    paths = (path for path in folder.rglob("*") if path.is_file() or not any(path.iterdir()))
    return sorted(str(path.relative_to(folder)) for path in paths if "tensorboard" not in path.parts)


def digest(path: Path) -> str:
    """A hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def not_finite(folder: Path) -> list[str]:
    """Tensors below a folder that hold NaN or infinite numbers."""
    return [
        f"{path.relative_to(folder)}: {name}"
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]


def differences(found: Any, expected: Any, at: str = "") -> list[str]:
    """Where two outcomes differ, in words."""
    if isinstance(found, dict) and isinstance(expected, dict):
        return [
            line
            for key in sorted({*found, *expected}, key=str)
            for line in differences(found.get(key), expected.get(key), f"{at}/{key}")
        ]
    if isinstance(found, list) and isinstance(expected, list) and all(isinstance(x, str) for x in [*found, *expected]):
        extra, lost = sorted(set(found) - set(expected)), sorted(set(expected) - set(found))
        return [f"{at}: {', '.join(names)} {what}" for names, what in ((extra, "too many"), (lost, "missing")) if names]
    return [] if found == expected else [f"{at}: {str(found)[:120]} instead of {str(expected)[:120]}"]
