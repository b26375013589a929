"""A studio and a browser for the tests here; `make studio-test` has what they need."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# No sandbox, since containers have none to give; the rest keeps the browser itself from asking anybody anything.
OPTIONS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run "
    "--disable-quic"
).split()
TINY = (
    "--data=digits --data.limit=60 --signal=none --net.patch=4 --net.width=8 --net.depth=1 --net.heads=1 --optimiser.steps=3 "
    "--optimiser.batch=4 --sampling.steps=2 --log.samples=4 --log.every=1"
).split()
# One process for what would take two: most of their time is the start.
SCRIPT = """
import json, sys
from sadm.cli.main import run
sys.exit(max(run(words) for words in json.loads(sys.argv[1])))
"""

if os.environ.get("SADM_BROWSER_TESTS") != "1":
    collect_ignore_glob = ["test_*.py"]
else:
    from studio_process import PATIENCE, serving


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    assert found is not None, f"none of {', '.join(BROWSERS)} is installed"
    return {**browser_type_launch_args, "executable_path": found, "args": OPTIONS}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a small training and four images that it has made."""
    workspace = tmp_path_factory.mktemp("studio")
    run, out = workspace / "runs" / "tiny", workspace / "images" / "tiny-drawn"
    commands = [["train", f"--out={run}", *TINY], ["sample", str(run), f"--out={out}", "--count=4"]]
    subprocess.run([sys.executable, "-c", SCRIPT, json.dumps(commands)], check=True, timeout=600, capture_output=True)
    return workspace


@pytest.fixture(scope="session")
def studio(folder: Path) -> Iterator[str]:
    """Address of a studio of its own process."""
    with serving(folder) as address:
        yield address


@pytest.fixture(scope="session")
def japanese(folder: Path) -> Iterator[str]:
    """Address of a studio that speaks Japanese, of the same workspace."""
    with serving(folder, "--lang=ja") as address:
        yield address


@pytest.fixture
def context(context: Any) -> Iterator[Any]:
    """Pages that wait, and that fail where the browser asks another machine or reports a mistake of ours."""
    context.set_default_timeout(PATIENCE)
    asked: set[str] = set()
    forbidden: set[str] = set()  # by the page's own policy: the browser names such a request, and does not send it
    mistakes: list[str] = []
    context.on("request", lambda request: asked.add(request.url))
    context.on("requestfailed", lambda request: request.failure == "csp" and forbidden.add(request.url))
    context.on("weberror", lambda error: mistakes.append(str(error.error)))
    yield context
    ours = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")
    assert [url for url in sorted(asked - forbidden) if not url.startswith(ours)] == []
    assert any(url.startswith(ours[0]) for url in asked)
    assert mistakes == []
