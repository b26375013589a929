"""A contestant that takes a few steps whenever it is asked to: ``python -m benchmarks.peers.pacer FOLDER LEAST_STEPS``.

Says on standard output how many steps its schedule has, as a line of JSON; then reads numbers of steps from standard input, one
on a line, and answers each with the CPU-seconds of these steps, after the last one with what it found; or says "error".
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.peers.pace import Pace
from benchmarks.peers.worker import place_in, send
from sadm.core.errors import UserError


def main(folder: Path, least: int) -> None:
    """Answers until the schedule has ended or nobody asks any more."""
    pace = Pace(place_in(folder), least)
    send({"steps": pace.steps})
    while pace.left:
        asked = sys.stdin.readline()
        if not asked:
            return
        seconds = [pace.advance() for _ in range(min(int(asked), pace.left))]
        send({"seconds": seconds, **({} if pace.left else {"found": pace.found()})})


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]))
    except UserError as error:
        send({"error": str(error)})
        sys.exit(2)
