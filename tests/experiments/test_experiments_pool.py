"""What a pool makes of what its workers write."""

from __future__ import annotations

import queue
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import benchmarks.peers.pool
from sadm.core.progress import Silent
from sadm.experiments.pool import Pool, pass_on

LISTENERS = {"experiments": pass_on, "peers": benchmarks.peers.pool.pass_on}

TALKS = r"""
import os, sys
print("loading a judge")
print("[1, 2]")
print("nan", 3, "{")
print("[" * 100000)
print('{"finished": "a"}', flush=True)
os.write(1, b"\xff\xfe no text\n")
print('{"finished": "b"}')
"""


@pytest.mark.parametrize("kind", ["experiments", "peers"])
def test_what_is_no_message_is_passed_over_and_the_end_is_told(kind: str, tmp_path: Path) -> None:
    pool: Any = Pool(tmp_path, ["cpu"], Silent()) if kind == "experiments" else benchmarks.peers.pool.Pool(1, Silent())
    pass_on = LISTENERS[kind]
    process = subprocess.Popen([sys.executable, "-c", TALKS], stdout=subprocess.PIPE, text=True, errors="replace")
    pass_on("worker", process, pool.messages)
    assert process.wait() == 0
    for message in ({"finished": "a"}, {"finished": "b"}, None):
        assert pool.messages.get_nowait() == ("worker", message)
    with pytest.raises(queue.Empty):
        pool.messages.get_nowait()


@pytest.mark.parametrize("kind", ["experiments", "peers"])
def test_the_end_is_told_even_where_listening_fails(kind: str, tmp_path: Path) -> None:
    pool: Any = Pool(tmp_path, ["cpu"], Silent()) if kind == "experiments" else benchmarks.peers.pool.Pool(1, Silent())
    pass_on = LISTENERS[kind]
    command = [sys.executable, "-c", "import os; os.write(1, bytes([255]))"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="ascii")
    with pytest.raises(UnicodeDecodeError):
        pass_on("worker", process, pool.messages)
    assert pool.messages.get_nowait() == ("worker", None)
    assert process.wait() == 0
