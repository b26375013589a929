"""What became of each tensor when weights were loaded."""

from __future__ import annotations

import dataclasses
import math

SHOWN = 4  # names in a line of the report


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
        lines = [f"loaded {_tensors(len(self.loaded))} with {values:,} values"]
        for title, entries in (("re-initialised", self.reinitialised), ("ignored", self.ignored)):
            names = ", ".join(map(str, entries[:SHOWN]))
            more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
            lines.append(f"{title} {_tensors(len(entries))}" + (f": {names}{more}" if entries else ""))
        return "\n".join(lines)


def _tensors(count: int) -> str:
    return f"{count} tensor" if count == 1 else f"{count} tensors"
