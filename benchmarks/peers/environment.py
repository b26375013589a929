"""The environment of the contestant that can't live in ours, built on demand, and why it is missing where that fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import ROOT, RUNS
from benchmarks.peers.contestant import find
from benchmarks.peers.ddpm_pytorch import PACKAGE
from benchmarks.peers.plan import NAME
from sadm.core.files import user_errors_for

FOLDER = RUNS / NAME / "venv"
DEFINITION = "import denoising_diffusion_pytorch, denoising_diffusion_pytorch.classifier_free_guidance"
CHECK = f"from benchmarks.operators import register_missing_operators as r; r(); {DEFINITION}; import benchmarks.peers.worker"
SECONDS_TO_BUILD = 1800
LAST_LINES = 3
LINES_OF_LOG = 15


def python() -> Path:
    """The interpreter of that environment."""
    return FOLDER / "bin" / "python"


def interpreter(contestant: str) -> str:
    """The interpreter that a contestant runs with."""
    return sys.executable if find(contestant).in_environment else str(python())


def of_one_thread() -> dict[str, str]:
    """Environment variables of a process of this benchmark."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def start(
    contestant: str, module: str, arguments: Sequence[str], log: Path, answers: bool = False
) -> subprocess.Popen[str]:
    """A module of this benchmark in a process of its own, with the contestant's interpreter and one thread.

    Args:
        contestant: whose interpreter.
        module: that is run.
        arguments: of it.
        log: file for what it says on standard error; its messages are read from standard output.
        answers: whether it is asked on standard input.
    """
    with user_errors_for(log), open(log, "w", encoding="utf-8") as file:
        return subprocess.Popen(  # noqa: S603 - our own module
            [interpreter(contestant), "-m", module, *arguments],
            stdin=subprocess.PIPE if answers else None,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            errors="replace",  # what is no message need not be text
            env=of_one_thread(),
            cwd=ROOT,
            start_new_session=True,  # Ctrl-C reaches this process, which passes it on once
        )


def last_words(log: Path) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES_OF_LOG:])


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
