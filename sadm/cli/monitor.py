"""``sadm monitor``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Literal

import tyro

from sadm.cli.options import parse
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say

DESCRIPTION = """Finds out whether a model in operation still suits the images that come in: keep it, watch it, or train anew.

Compares new images with the training images (with held-out ones as the floor), the model's images with both, and looks for
copies. Writes monitor.json and monitor.html, and remembers earlier looks, so that the page shows a trend. Stop it with Ctrl-C;
the same command goes on.

examples:
  sadm monitor runs/parts images/2026-11
  sadm monitor runs/parts images/2026-11 --lang ja
  sadm monitor runs/parts images/2026-10 --date 2026-10-31 --json
"""


@dataclasses.dataclass(frozen=True)
class MonitorOptions:
    """Options of ``sadm monitor``."""

    run: tyro.conf.Positional[str]
    """A run folder."""
    new: tyro.conf.Positional[str]
    """A folder of new images, or anything that `sadm train --data` takes."""
    out: str | None = None
    """Folder for monitor.json, monitor.html and the history; None = 'monitor' in the run folder."""
    date: str | None = None
    """When the images were taken, such as 2026-11-28, for the trend; None = today."""
    together: bool = False
    """Write old and new images as one folder, and retrain.yaml, with which `sadm train` learns from both."""
    count: int = 1000
    """How many images to draw from the model."""
    seed: int = 0
    """Seed of these images, and of all comparisons."""
    device: str = "auto"
    """'auto' = the accelerator if there is one, else 'cpu'."""
    lang: Literal["en", "ja"] = "en"
    """Language of the page and of what is printed."""
    json: bool = False
    """Print JSON instead of the advice."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, compares, writes the page, and says what to do."""
    options: MonitorOptions = parse(MonitorOptions, arguments, "monitor", DESCRIPTION)
    from sadm.core.files import write_atomically, write_json
    from sadm.experiments.monitoring import FOLDER, described, headline, monitor_run, render_monitor

    with ConsoleReporter() as reporter:
        found = monitor_run(
            options.run,
            options.new,
            options.out,
            options.count,
            options.seed,
            options.date,
            options.together,
            options.device,
            reporter,
        )
    folder = Path(options.out) if options.out is not None else Path(options.run) / FOLDER
    facts = found.facts | {"sentence": headline(found.facts, options.lang)}
    write_json(folder / "monitor.json", facts)
    write_atomically(folder / "monitor.html", render_monitor(found, options.lang))
    if options.json:
        say(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    say(described(facts, folder / "monitor.html", options.lang))
