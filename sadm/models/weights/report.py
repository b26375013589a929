"""What became of each tensor when weights were loaded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

SHOWN = 6  # names in a line of the report


@dataclasses.dataclass(frozen=True)
class Entry:
    """One tensor.

    Attributes:
        name: of the parameter or buffer, in the network where it is loaded or re-initialised, in the file where it is ignored.
        shape: of the tensor, or of the part that is meant.
        note: which part and why, where that is not plain.
    """

    name: str
    shape: tuple[int, ...]
    note: str = ""

    def __str__(self) -> str:
        sizes = "x".join(map(str, self.shape)) or "one number"
        return f"{self.name} [{sizes}]" + (f" ({self.note})" if self.note else "")


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What a loader did; ``str()`` is for people.

    Attributes:
        loaded: taken from the file.
        reinitialised: in the network, and not from the file.
        ignored: in the file, and not used.
    """

    loaded: tuple[Entry, ...] = ()
    reinitialised: tuple[Entry, ...] = ()
    ignored: tuple[Entry, ...] = ()

    def __str__(self) -> str:
        values = sum(math.prod(entry.shape) for entry in self.loaded)
        in_part = [entry for entry in self.loaded if entry.note]
        return "\n".join(
            [
                f"loaded {_tensors(len(self.loaded))} with {values:,} values{_names(in_part)}",
                f"re-initialised {_tensors(len(self.reinitialised))}{_names(self.reinitialised)}",
                f"ignored {_tensors(len(self.ignored))}{_names(self.ignored)}",
            ]
        )


def _names(entries: Sequence[Entry]) -> str:
    more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return f": {', '.join(map(str, entries[:SHOWN]))}{more}" if entries else ""


def _tensors(count: int) -> str:
    return f"{count} tensor" if count == 1 else f"{count} tensors"
