"""A studio of its own process, and what a person does with its page."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from sadm.core.files import locked
from sadm.studio.jobs import Jobs

PATIENCE = 180_000
"""Milliseconds that a test waits for what is to happen; nothing here measures time."""
GRAVE = ("critical", "serious")
GRADIOS = ("nested-interactive", "aria-prohibited-attr")
"""Serious, and of Gradio itself: its button for further uploads holds the field for files, and galleries and plots with
nothing in them have a name that their role does not allow."""
TABS = ("train", "runs", "draw", "defects", "edit", "augment", "review", "jobs")


class serving:  # noqa: N801 - reads as a word
    """A studio as a process, until the block ends."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.command = [sys.executable, "-m", "sadm", "studio", f"--folder={folder}", f"--port={port}", *options]
        self.address = f"http://127.0.0.1:{port}"

    def __enter__(self) -> str:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 2 * PATIENCE / 1000
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(self.address, timeout=60).close()  # noqa: S310 - our own address
            except urllib.error.HTTPError:
                return self.address  # it answers, if only to ask for a password
            except OSError:
                time.sleep(0.3)
            else:
                return self.address
        self.process.kill()
        raise AssertionError(f"the studio did not start: {' '.join(self.command)}")

    def __exit__(self, *error: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=120)


def tab(page: Any, name: str) -> None:
    """Opens a tab, one of `TABS`."""
    page.click(f"#tab_{name}-button")
    page.locator(f"#tab_{name}[role=tabpanel]").wait_for()


def opened(page: Any, studio: str, name: str | None = None) -> None:
    """Loads the page, and opens a tab."""
    page.goto(studio)
    page.wait_for_selector("#train-start")
    if name is not None:
        tab(page, name)


def fill(page: Any, where: str, text: str) -> None:
    """Types into a field."""
    page.fill(f"{where} textarea, {where} input[type=text], {where} input[type=number]", text)


def choose(page: Any, where: str, name: str) -> None:
    """Chooses from a menu."""
    page.locator(f"{where} input").click()
    page.get_by_role("option", name=name, exact=True).click()


def judged_by_axe(page: Any) -> None:
    """Makes a page ready for `grave`."""
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    page.evaluate(f"{axe}; 0")
    page.add_style_tag(content="* { transition: none !important }")  # or colours are seen on their way to others


def grave(page: Any, name: str) -> list[str]:
    """What axe finds on a page as it is now."""
    results = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert results["passes"]
    return [
        f"{name}: {one['impact']}, {one['id']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
        for one in results["violations"]
        if one["impact"] in GRAVE and one["id"] not in GRADIOS
    ]


def newest(folder: Path) -> dict[str, Any]:
    """What the newest job of a workspace was asked to do."""
    return json.loads(sorted((folder / "jobs").glob("*/job.json"))[-1].read_text(encoding="utf-8"))


@contextlib.contextmanager
def busy(folder: Path) -> Iterator[Jobs]:
    """A workspace in which a job runs, so that all others wait; in the end they are taken out. It costs no time: what makes a
    job run is that somebody holds its lock."""
    jobs = Jobs(folder / "jobs")
    before = {job.name for job in jobs.all()}
    held = jobs.folder / "00000000-holds-the-queue"
    held.mkdir()
    with locked(held, "working"):
        (held / "started").write_text("")
        (held / "job.json").write_text(json.dumps({"title": "Holds the queue", "command": ["train"]}))
        yield jobs
        for name in {job.name for job in jobs.all()} - before - {held.name}:
            jobs.remove(name)
    jobs.remove(held.name)
