"""A disk that fills while TensorBoard's own thread writes is said like any other, without a traceback."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.summary.writer.record_writer import RecordWriter

from sadm.core.errors import UserError
from sadm.training.journal import Journal, read_metrics


def fills_after(records: int, monkeypatch: pytest.MonkeyPatch) -> None:
    right, written = RecordWriter.write, []

    def write(self: RecordWriter, data: bytes) -> Any:
        written.append(data)
        if len(written) > records:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return right(self, data)

    monkeypatch.setattr(RecordWriter, "write", write)


@pytest.mark.parametrize("records", [0, 3, 40])
def test_a_full_disk_is_said_without_a_traceback(
    records: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    usual = threading.excepthook
    fills_after(records, monkeypatch)

    def log() -> None:
        journal = Journal(tmp_path, 0)
        try:
            for step in range(1, 200):
                journal.add({"loss": torch.tensor(1.0)})
                journal.write(step, {"images": 1.0})
        finally:
            journal.close()

    with pytest.raises(UserError, match=r"cannot write .*tensorboard: the disk is full"):
        log()
    assert "Traceback" not in capfd.readouterr().err
    assert threading.excepthook is usual
    assert all(line["loss"] == 1 for line in read_metrics(tmp_path))


def test_other_errors_in_threads_are_still_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda error: told.append(error.exc_type))
    journal = Journal(tmp_path, 0)

    def fail() -> None:
        raise OSError(errno.ENOSPC, "of another thread")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    journal.close()
    assert told == [OSError]
