"""A process that has imported everything and forks a child for each command, so that a case takes a second, not ten.

python -m benchmarks.faults.host

Reads one request a line: ``{"start": [ARGUMENTS], "log": FILE, "hooks": [[NAME, {…}], …]}`` is answered with the child's id,
``{"wait": ID, "seconds": N}`` with its exit code (negative: a signal) and the processor seconds that it took, or with null: it is
still running. A child runs `sadm.cli.main`, as ``python -m sadm ARGUMENTS`` does, in a session of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from typing import Any

from benchmarks.faults import hooks
from sadm.cli.main import COMMANDS, main

_POLL = 0.005
_WHOLE_COMMANDS = ("train", "evaluate", "encode", "compare", "sample", "prepare")


def serve() -> None:
    """Answers requests until standard input ends."""
    _import_all()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        answer = _start(request) if "start" in request else _wait(request["wait"], request["seconds"])
        print(json.dumps(answer), flush=True)


def _import_all() -> None:
    import importlib

    import diffusers  # noqa: F401
    import sklearn.datasets  # noqa: F401
    from torch.utils.tensorboard import SummaryWriter  # noqa: F401

    for name in _WHOLE_COMMANDS:
        importlib.import_module(f"sadm.cli.{name}")
    from diffusers import AutoencoderKL  # noqa: F401

    import sadm.experiments.compare
    import sadm.experiments.report
    import sadm.training.encoding
    import sadm.training.run
    import sadm.training.trained  # noqa: F401

    for name in _WHOLE_COMMANDS:  # what options mean is read from docstrings once, not in every child
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
            main([name, "--help"])


def _start(request: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    os.setsid()
    with open(request["log"], "ab") as log, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    for name, options in request["hooks"]:
        hooks.HOOKS[name](**options)
    main(request["start"])
    raise AssertionError(f"{COMMANDS} always end with SystemExit")


def _wait(child: int, seconds: float) -> list[float] | None:
    deadline = time.monotonic() + seconds
    while True:
        found, status, used = os.wait4(child, os.WNOHANG)
        if found:
            return [os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime]
        if time.monotonic() > deadline:
            return None
        time.sleep(_POLL)


if __name__ == "__main__":
    serve()
