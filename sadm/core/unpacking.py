"""How far a compressed file may unpack: a bomb of a few kilobytes fills the memory of any machine."""

from __future__ import annotations

import numpy as np

FREE = 64 << 20
"""Bytes that anything may unpack to."""
MOST_TIMES = 200
"""How many times its own size something may unpack to beyond that; deflate reaches 1032, photographs and scans hardly 10."""


def check_unpacking(packed: int, unpacked: int) -> None:
    """Refuses what would unpack out of all proportion; before it is unpacked, by what its header says.

    Args:
        packed: its size in bytes.
        unpacked: the size in bytes that is claimed, and that no more than is read of.

    Raises:
        ValueError: with the reason.
    """
    if unpacked > FREE and unpacked > MOST_TIMES * packed:
        raise ValueError(
            f"{packed} bytes would unpack to {unpacked}; more than {MOST_TIMES} times as much is not accepted (a decompression "
            "bomb?)"
        )


def read_member(file: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    """One array of an .npz that was opened without allow_pickle, unless it unpacks out of all proportion.

    Raises:
        ValueError: it does. NumPy's and zipfile's own errors pass.
    """
    member = file.zip.getinfo(key if key in file.zip.namelist() else f"{key}.npy")  # type: ignore[union-attr]
    check_unpacking(member.compress_size, member.file_size)
    return np.asarray(file[key])
