"""Checkpoints of a run, one after another: written at once, or while the training goes on."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from pathlib import Path
from typing import Any

from sadm.training.checkpoint import Snapshot, save_checkpoint, snapshot
from sadm.training.parallel.team import Team


class Saver:
    """Writes checkpoints, and removes old ones once a newer one is whole.

    Args:
        folder: holds a folder ``step-…`` for each.
        keep: how many stay.
        background: write in a thread; a state is copied first, so that what goes on changes nothing. An error shows at the next
            checkpoint, or at the end.
        team: the processes, each of which has a saver.
    """

    def __init__(self, folder: Path, keep: int, background: bool, team: Team) -> None:
        self.folder, self.keep, self.background = folder, keep, background
        self.team = dataclasses.replace(team, control=team.saving)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes a state, or begins to; waits for the one before.

        Raises:
            UserError: this or the one before can't be written.
        """
        self.wait()
        taken = snapshot(state)
        if not self.background:
            self._write(step, taken)
            return
        self._thread = threading.Thread(target=self._keep_error, args=(step, taken))
        self._thread.start()

    def wait(self) -> None:
        """Until all that was begun is whole.

        Raises:
            UserError: it can't be written.
        """
        if self._thread is not None:
            self._thread.join()
        self._thread, error, self._error = None, self._error, None
        if error is not None:
            raise error

    def _write(self, step: int, taken: Snapshot) -> None:
        save_checkpoint(self.folder / f"step-{step:08d}", taken, self.team)
        if self.team.first:
            for old in sorted(self.folder.glob("step-*"))[: -self.keep]:
                shutil.rmtree(old)

    def _keep_error(self, step: int, taken: Snapshot) -> None:
        try:
            self._write(step, taken)
        except BaseException as error:  # raised again where somebody waits
            self._error = error
