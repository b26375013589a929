"""What a worker does when the comparison that it works for is killed."""

from __future__ import annotations

import subprocess
import sys

REPORTS = """
import sys
from sadm.experiments.worker import LineReporter, own_output
reporter = LineReporter(own_output())
print("whatever a user's code prints")
reporter.say("listened to")
sys.stdin.read()
reporter.say("nobody listens")
reporter.update("training", 1, 2)
print("went on", file=sys.stderr)
"""


def test_a_report_that_nobody_reads_stops_no_training() -> None:
    """A killed comparison closes both pipes at once: the worker may report before it knows."""
    command = [sys.executable, "-c", REPORTS]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    assert "listened to" in process.stdout.readline()
    process.stdout.close()
    process.stdin.close()
    assert process.stderr.read() == "whatever a user's code prints\nwent on\n"
    assert process.wait() == 0
