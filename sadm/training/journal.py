"""The journal of a run: metrics.jsonl for programs, TensorBoard for people."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.core.files import user_errors_for, write_atomically

METRICS, TENSORBOARD = "metrics.jsonl", "tensorboard"


class Journal:
    """Appends a line of window means every few steps; a resumed run neither loses nor repeats a line.

    Args:
        folder: the run folder.
        step: steps done so far; later lines, left by a run that was killed after its last checkpoint, are dropped.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # a second to import, so only here

        self.path = folder / METRICS
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        kept = [json.dumps(line) + "\n" for line in read_metrics(folder) if line["step"] <= step]
        write_atomically(self.path, "".join(kept))
        self.events = folder / TENSORBOARD
        self._usual = threading.excepthook
        threading.excepthook = self._on_thread_error
        try:
            with user_errors_for(self.events):
                self.board = SummaryWriter(str(self.events), purge_step=step + 1)
        except BaseException:
            threading.excepthook = self._usual
            raise

    def add(self, scalars: dict[str, torch.Tensor]) -> None:
        """Adds one step's scalars to the window."""
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Means over the window so far."""
        return {name: total / self.counts[name] for name, total in self.sums.items()}

    def write(self, step: int, extra: dict[str, float]) -> None:
        """Writes the window's means and `extra` as the line of `step`, and empties the window."""
        line = {"step": step, **self.means(), **extra}
        with user_errors_for(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(_finite(line), allow_nan=False) + "\n")
        with user_errors_for(self.events):
            for name, value in line.items():
                if name != "step":
                    self.board.add_scalar(name, value, step)
        self.sums.clear()
        self.counts.clear()

    def close(self) -> None:
        """Flushes what TensorBoard holds back."""
        try:
            with user_errors_for(self.events):
                self.board.close()
        finally:
            threading.excepthook = self._usual

    def state_dict(self) -> dict[str, Any]:
        """The unfinished window."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])

    def _on_thread_error(self, error: threading.ExceptHookArgs) -> None:
        """TensorBoard writes in a thread; what fails there, such as a full disk, is raised again here at the next line."""
        if not (issubclass(error.exc_type, OSError) and type(error.thread).__name__ == "_AsyncWriterThread"):
            self._usual(error)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, a torn last line left out; empty where there is none."""
    path = folder / METRICS
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    values = []
    for number, line in enumerate(lines, 1):
        try:
            values.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise UserError(f"{path}, line {number}, is not valid JSON: {error}") from error
    return values


def _finite(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value if math.isfinite(value) else None for name, value in line.items()}
