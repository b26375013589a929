"""Encoded images that arrive one by one, kept in a nameless temporary file rather than in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

from sadm.core.files import user_errors_for


class Spool:
    """A temporary file that vanishes with the last content that it gave."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="sadm-")  # noqa: SIM115 - it lives as long as its contents
        self._end = 0

    def keep(self, data: bytes) -> Callable[[], bytes]:
        """Stores bytes; returns what reads them back, from any thread.

        Raises:
            UserError: the disk is full.
        """
        with user_errors_for(tempfile.gettempdir()):
            self._file.seek(self._end)
            self._file.write(data)
            self._file.flush()
        start, size, file = self._end, len(data), self._file
        self._end += size
        return lambda: os.pread(file.fileno(), size, start)
