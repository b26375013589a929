"""The environment of the contestant that can't live in ours, built on demand, and why it is missing where that fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.common import ROOT, RUNS
from benchmarks.peers.contestant import find
from benchmarks.peers.ddpm_pytorch import PACKAGE
from benchmarks.peers.plan import NAME

FOLDER = RUNS / NAME / "venv"
DEFINITION = "import denoising_diffusion_pytorch, denoising_diffusion_pytorch.classifier_free_guidance"
CHECK = f"from benchmarks.operators import register_missing_operators as r; r(); {DEFINITION}; import benchmarks.peers.worker"
SECONDS_TO_BUILD = 1800
LAST_LINES = 3


def python() -> Path:
    """The interpreter of that environment."""
    return FOLDER / "bin" / "python"


def interpreter(contestant: str) -> str:
    """The interpreter that a contestant runs with."""
    return sys.executable if find(contestant).in_environment else str(python())


def of_one_thread() -> dict[str, str]:
    """Environment variables of a process of this benchmark."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def unavailable(contestant: str) -> str | None:
    """Why a contestant can't run here, after an attempt to make it run; None if it can."""
    if not find(contestant).in_environment:
        return _build()
    try:
        find(contestant).versions()
    except ImportError as error:
        return f"{error}. Install the extra 'dev'"
    return None


def _build() -> str | None:
    """Builds the environment where it is missing or broken; why that failed, or None."""
    if python().exists() and _check() is None:
        return None
    constraints = ROOT / "constraints.txt"
    pip = [str(python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(constraints)]
    # This project first, for the harness: left to itself, the library's requirement of torchvision may bring another torch.
    for command in ([sys.executable, "-m", "venv", str(FOLDER)], [*pip, str(ROOT)], [*pip, PACKAGE]):
        failed = _run(command, command[-1])
        if failed is not None:
            return failed
    return _check()


def _check() -> str | None:
    return _run([str(python()), "-c", CHECK], f"importing {PACKAGE}")


def _run(command: list[str], what: str) -> str | None:
    """The end of what a failed command said; None where it went well."""
    try:
        done = subprocess.run(  # noqa: S603 - the commands above
            command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_TO_BUILD, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{Path(what).name} failed: {type(error).__name__}"
    if done.returncode == 0:
        return None
    said = " ".join((done.stderr or done.stdout).strip().splitlines()[-LAST_LINES:])
    return f"{Path(what).name} failed: {said.replace(str(ROOT), '.')}"
