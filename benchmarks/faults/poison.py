"""NaN or infinity in the loss, gradients, data, weights and the discriminator: named, contained, counted, never kept."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.book import Book, Case
from benchmarks.faults.command import Ended, Host
from benchmarks.faults.kills import not_finite_in_checkpoints
from benchmarks.faults.smallest import differences, not_finite, outcome_of_run, write_config
from benchmarks.faults.subjects import OUT

AT = 9
"""The step: checkpoints are at 8 and 12."""
VALUES = ("nan", "inf")
LAST = 11
"""A step whose end is a checkpoint."""


@dataclasses.dataclass(frozen=True)
class Planted:
    """A poison, and what is promised.

    Attributes:
        what: a name in `POISONS`.
        stops: the training stops, and says one of these words; empty: it goes on without what is poisoned.
        change: of the smallest configuration.
        at: step.
        times: steps in a row.
    """

    what: str
    stops: tuple[str, ...] = ()
    change: dict[str, Any] = dataclasses.field(default_factory=dict)
    at: int = AT
    times: int = 1

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.what} {json.dumps(self.change)} at {self.at} x{self.times}" if self.change else self.what


PLANTED = (
    Planted("loss", ("the loss became",)),
    Planted("gradient", ("the gradient became",)),
    Planted("data", ("the loss became",)),
    Planted("weights", ("the loss became",)),
    Planted("weights", ("holds NaN or infinite numbers",), {"signal": "structure"}, LAST),
    Planted("average", ("holds NaN or infinite numbers",)),
    Planted("encoder"),
    # Relations of finite embeddings are finite, unless the relation itself is wrong: that is no matter for the watchdog.
    Planted("relation", ("the relation holds NaN",)),
    Planted("relation", ("the relation holds NaN",), {"structure": {"adversary": "frozen"}}),
    # An encoder that does not learn has no starting weights to return to: plays are skipped until the next checkpoint.
    Planted("encoder", ("holds NaN or infinite numbers",), {"structure": {"adversary": "classify"}}),
    Planted("encoder", ("NaN",), {"structure": {"watchdog": False}}),
    Planted("encoder", ("gradient became", "NaN", "not finite"), {"signal": "hidden"}),
)


def run(host: Host, folder: Path, book: Book, planted: tuple[Planted, ...] = PLANTED) -> list[Case]:
    """All of `planted` with both values, and a file of numbers that are not all finite."""
    cases = [
        book.case(f"{poison.name} {value}", lambda poison=poison, value=value: _poisoned(host, folder, poison, value))  # type: ignore[misc]
        for poison in planted
        for value in VALUES
    ]
    return [*cases, *(book.case(f"file {value}", lambda value=value: _file(host, folder, value)) for value in VALUES)]  # type: ignore[misc]


def _poisoned(host: Host, folder: Path, poison: Planted, value: str) -> Case:
    place = folder / "poisoned"
    shutil.rmtree(place, ignore_errors=True)
    config = write_config(place / "config.yaml", **poison.change)
    whole, out = place / "whole", place / OUT
    hook = ("poison", {"what": poison.what, "at": poison.at, "value": value, "times": poison.times})
    ended = host.run("train", "--config", config, "--out", out, hooks=[hook])
    failures = [f"in a checkpoint: {name}" for name in not_finite_in_checkpoints(place)]
    failures += [f"in the model: {name}" for name in not_finite(out / "model")]
    if not poison.stops:
        return {"injected": 1, "contained": 1, "skipped": _skipped(out), "failures": failures + _went_on(ended, out)}
    failures += _stopped(ended, poison)
    host.run("train", "--config", config, "--out", whole)
    again = host.run("train", "--config", config, "--out", out)
    same = differences(outcome_of_run(out), outcome_of_run(whole)) if not again.code else [again.output[-300:]]
    return {"injected": 1, "stopped": 1, "bit_equal": int(not same), "failures": failures + same[:3]}


def _stopped(ended: Ended, poison: Planted) -> list[str]:
    if ended.code != 2 or ended.crashed:
        return [f"ended with {ended.code}: {ended.output[-300:]}"]
    return [] if any(word in ended.output for word in poison.stops) else [f"not named: {ended.output[-300:]}"]


def _went_on(ended: Ended, out: Path) -> list[str]:
    if ended.code or ended.crashed:
        return [f"ended with {ended.code}: {ended.output[-300:]}"]
    return [] if _skipped(out) else ["nothing was counted as skipped in metrics.jsonl"]


def _skipped(out: Path) -> int:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
    return round(max((line.get("skipped") or 0 for line in lines), default=0))


def _file(host: Host, folder: Path, value: str) -> Case:
    """Images as numbers, one of which is not finite: refused before anything is trained."""
    place = folder / "poisoned"
    shutil.rmtree(place, ignore_errors=True)
    config = write_config(place / "config.yaml", data={"limit": None})
    numbers = np.random.default_rng(0).uniform(size=(40, 8, 8)).astype(np.float32)
    numbers[7, 3, 3] = float(value)
    np.save(place / "images.npy", numbers)
    ended = host.run("train", "--config", config, "--data", place / "images.npy", "--out", place / OUT)
    good = ended.code == 2 and not ended.crashed and "images.npy" in ended.output and value in ended.output
    return {"injected": 1, "refused": int(good), "failures": [] if good else [f"{ended.code}: {ended.output[-300:]}"]}
