"""Memory that is freed and allocated again: page faults, as the system counts them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

TURNS, MEBIBYTES = 20, 40

SCRIPT = f"""
import resource, sys
import torch
from sadm.core.allocation import keep_freed_memory

done = keep_freed_memory() if "keep" in sys.argv else False

def turn():
    torch.empty({MEBIBYTES} << 18).fill_(1.0)

for _ in range({TURNS}):  # until small allocations have found their places between
    turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({TURNS}):
    turn()
print(done, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*arguments: str, **environment: str) -> tuple[str, int]:
    """Whether memory is kept, and the page faults of twenty turns of allocating and freeing."""
    chosen = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
    clean = {name: value for name, value in os.environ.items() if name not in chosen}
    command = [sys.executable, "-c", SCRIPT, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=clean | environment)
    done, count = ended.stdout.split()
    return done, int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_not_cleared_anew() -> None:
    done, kept = faults("keep")
    _, returned = faults()
    assert done == "True"
    assert kept < returned / 10


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_settings_of_the_environment_are_left_alone() -> None:
    done, count = faults("keep", MALLOC_MMAP_THRESHOLD_="65536")
    assert done == "False"
    assert count > TURNS
