"""One target with many inputs: how many are taken, how many refused in words, and what went wrong."""

from __future__ import annotations

import dataclasses
import random
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks.fuzz.mutations import Draw
from sadm.core.errors import UserError
from sadm.data.records import Unreadable

EXPECTED = (UserError, Unreadable)
BATCH = 2000  # inputs of one seed of hypothesis
EACH = 20  # inputs that one number drawn by hypothesis makes, since drawing takes longer than most reading
MOST_SECONDS = 10.0  # of processor time for one input
_KEPT = 20  # failures that are stored


@dataclasses.dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        inputs: how many in the long form.
        draws: gives what makes them; called with a folder in which valid files may be made.
        read: reads one; the folder is its own.
    """

    inputs: int
    draws: Callable[[Path], Draw]
    read: Callable[[Any, Path], object]


@dataclasses.dataclass
class Found:
    """What came of a target's inputs.

    Attributes:
        inputs: in all.
        accepted: that gave a result.
        refused: with the reader's own error.
        slowest: processor seconds of one input.
        failures: anything else; each a type, a place and the input.
    """

    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    slowest: float = 0.0
    failures: list[dict[str, str]] = dataclasses.field(default_factory=list)

    def fail(self, what: str, where: str, given_input: Any) -> None:
        """Remembers a failure, unless one like it is known."""
        known = any((old["what"][:60], old["where"]) == (what[:60], where) for old in self.failures)
        if not known and len(self.failures) < _KEPT:
            self.failures.append({"what": what, "where": where, "input": repr(given_input)[:2000]})


def fuzz(target: Target, inputs: int, first_seed: int = 0) -> Found:
    """Gives a target so many inputs; the same ones each time."""
    found = Found()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made, read = Path(folder, "made"), Path(folder, "read")
        made.mkdir()
        read.mkdir()
        draw = target.draws(made)
        for batch in range(-(-inputs // BATCH)):
            _batch(target, draw, min(BATCH, inputs - batch * BATCH), first_seed + batch, read, found)
    return found


def _batch(target: Target, draw: Draw, count: int, number: int, folder: Path, found: Found) -> None:
    end = found.inputs + count

    @seed(number)
    @settings(
        max_examples=-(-count // EACH),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**64))
    def several(drawn: int) -> None:
        chance = random.Random(drawn)
        for _ in range(min(EACH, end - found.inputs)):
            _read(target, draw(chance), folder, found)

    several()


def _read(target: Target, value: Any, folder: Path, found: Found) -> None:
    found.inputs += 1
    before = time.process_time()
    try:
        target.read(value, folder)
        found.accepted += 1
    except EXPECTED as error:
        found.refused += 1
        if not str(error).strip():
            found.fail("an error without a message", _place(error), value)
    except Exception as error:
        found.fail(f"{type(error).__name__}: {error}"[:300], _place(error), value)
    taken = time.process_time() - before
    found.slowest = max(found.slowest, taken)
    if taken > MOST_SECONDS:
        found.fail(f"{taken:.1f} seconds", "", value)


def _place(error: BaseException) -> str:
    """The innermost line of ours."""
    frames: Sequence[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/sadm/" in frame.filename] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
