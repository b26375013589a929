"""`scan.jsonl`: a line for each image as soon as it was looked at, so that a scan that is stopped loses nothing."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sadm.core.errors import UserError
from sadm.core.files import parse_json, user_errors_for, write_atomically
from sadm.data.colour import FULL_16_BIT
from sadm.data.preparation.facts import PASSING, Facts

FILE = "scan.jsonl"
_VERSION = 3  # of `Facts`; what another version found is found again


class Journal:
    """What is known of a source's images from this and earlier scans.

    Args:
        folder: where the file is; it need not exist.
        source: identity of the source.
        white_level: see `Fit`; what was found with another one is found again.

    Attributes:
        known: facts by name.

    Raises:
        UserError: the folder holds the scan of another source, or the file cannot be read.
    """

    def __init__(self, folder: Path, source: str, white_level: int = FULL_16_BIT) -> None:
        self.path = folder / FILE
        self._header = {"scan": _VERSION, "source": source, "white_level": white_level}
        self._lines = 0
        self._file: io.FileIO
        self.known: dict[str, Facts] = {}
        self._read()

    @contextlib.contextmanager
    def appending(self) -> Iterator[Journal]:
        """Within, `add` works.

        Raises:
            UserError: the file cannot be written; lines written before stay.
        """
        if not self._lines:
            self._rewrite([])
        with contextlib.ExitStack() as stack:
            with user_errors_for(self.path):
                self._file = stack.enter_context(open(self.path, "ab", buffering=0))
            yield self

    def add(self, facts: Facts) -> None:
        """Appends a line, unless it says nothing new or nothing that lasts."""
        if facts.problem in PASSING or self.known.get(facts.name) == facts:
            return
        self.known[facts.name] = facts
        self._lines += 1
        with user_errors_for(self.path):
            _write_whole(self._file, _line(facts.to_json()))

    def finish(self, facts: Sequence[Facts]) -> None:
        """After a complete scan: only these facts stay."""
        lasting = [fact for fact in facts if fact.problem not in PASSING]
        if self._lines != len(lasting) + 1:  # files that have changed or gone left lines behind
            self._rewrite(lasting)

    def _rewrite(self, facts: Sequence[Facts]) -> None:
        lines = [_line(self._header), *(_line(fact.to_json()) for fact in facts)]
        write_atomically(self.path, b"".join(lines))
        self._lines = len(lines)

    def _read(self) -> None:
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror}. Check its permissions.") from error
        header = _parsed(lines[0]) if lines else None
        if header is None or header.get("scan") != _VERSION:
            return
        if header.get("source") != self._header["source"]:
            raise UserError(
                f"{self.path.parent} holds what was prepared from {header.get('source')}, not from "
                f"{self._header['source']}. Choose another --out."
            )
        if header != self._header:
            return
        for line in lines[1:]:
            values = _parsed(line)
            with contextlib.suppress(TypeError, ValueError):
                if values is not None:
                    facts = Facts.from_json(values)
                    self.known[facts.name] = facts
        self._lines = len(lines)
        if not lines[-1].endswith(b"\n"):  # a line that a full disk or a killed process cut short
            self._rewrite(list(self.known.values()))


def _line(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        values = parse_json(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def _write_whole(file: io.FileIO, line: bytes) -> None:
    """An unbuffered file may take a part of what it is given."""
    written = 0
    while written < len(line):
        written += file.write(line[written:])
