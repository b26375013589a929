"""A studio and a browser for the tests here; `make studio-test` has what they need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studio_process import PATIENCE, serving

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# No sandbox, since containers have none to give; the rest keeps the browser itself from asking anybody anything.
OPTIONS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run "
    "--disable-quic"
).split()
TINY = (
    "--data=digits --data.limit=60 --signal=none --net.patch=4 --net.width=8 --net.depth=1 --net.heads=1 --optimiser.steps=3 "
    "--optimiser.batch=4 --sampling.steps=2 --log.samples=4"
).split()

if os.environ.get("SADM_BROWSER_TESTS") != "1":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    assert found is not None, f"none of {', '.join(BROWSERS)} is installed"
    return {**browser_type_launch_args, "executable_path": found, "args": OPTIONS}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a small training in it."""
    workspace = tmp_path_factory.mktemp("studio")
    command = [sys.executable, "-m", "sadm", "train", f"--out={workspace / 'runs' / 'tiny'}", *TINY]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    return workspace


@pytest.fixture(scope="session")
def studio(folder: Path) -> Iterator[str]:
    """Address of a studio of its own process."""
    with serving(folder) as address:
        yield address


@pytest.fixture
def page(page: Any) -> Any:
    """A page that waits, and that fails where the browser asks another machine or reports a mistake of ours."""
    page.set_default_timeout(PATIENCE)
    asked, mistakes = set(), []
    page.on("request", lambda request: asked.add(request.url.split("/")[2]) if request.url.startswith("http") else None)
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    yield page
    assert {host.partition(":")[0] for host in asked} <= {"127.0.0.1"}
    assert mistakes == []
