"""What all tests share: one thread, so that bits and timings do not depend on the machine's load."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
torch.set_num_threads(1)

# Tests measure no time: how long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# These compare with packages that must not be in the usual environment: make test-reference.
collect_ignore = [] if importlib.util.find_spec("torch_fidelity") else ["reference"]


@pytest.fixture
def class_folder(tmp_path: Path) -> Path:
    """40 colour images of 10x10 pixels in two class folders."""
    draws = np.random.default_rng(0)
    for name, base in (("good", 60), ("scratched", 180)):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for index in range(20):
            pixels = np.clip(draws.normal(base, 30, (10, 10, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    return tmp_path / "images"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB; skipped where this user may not mount one."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("no small file system to fill: there is no mount(8)")
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"no small file system to fill: {mount.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: tensors that were read from there may be mapped still.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may write to, unlike those of `tmp_path`."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)  # noqa: S103 - on purpose
        yield Path(folder)


@pytest.fixture
def ordinary_user() -> Callable[[], AbstractContextManager[None]]:
    """Within ``with ordinary_user():`` files are read and written as by one who is not root, whom no permission stops."""

    @contextlib.contextmanager
    def switched() -> Iterator[None]:
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # nobody
        try:
            yield
        finally:
            os.seteuid(user)

    return switched
