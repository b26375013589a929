"""How this process's memory is handed out. Imports no torch."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt."""
_MOST = 2**31 - 1
_CHOSEN_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Has this process keep memory that was freed, for what it allocates next, instead of giving it back to the system.

    A training step on a CPU allocates and frees the same large tensors over and over; by default glibc returns many of them at
    once, and the system clears every page anew. Speaks for the whole process, whose peak stays about the same but is held on to
    until it ends. Calling it again changes nothing.

    Returns:
        Whether it was done: not without glibc, and not where the environment has settings of its own (mallopt(3)).
    """
    if sys.platform != "linux" or any(name in os.environ for name in _CHOSEN_BY_USER):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # The first of the two also stops glibc from adapting the thresholds by itself.
    return bool(mallopt(_MMAP_THRESHOLD, _MOST)) and bool(mallopt(_TRIM_THRESHOLD, _MOST))
