"""``sadm export``."""

from __future__ import annotations

import dataclasses
from typing import Literal

import tyro

from sadm.cli.options import parse, required
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say

DESCRIPTION = """Writes the images of any source to a folder: PNG files in class folders, masks, and a table (metadata.csv).

The table holds labels, groups, parts of a split, masks and attributes. The same command goes on after an interruption.

examples:
  sadm export surfaces:count=200,size=256 --out my/surfaces
  sadm export surfaces --out my/metal --count 50 --channels 3
  sadm export digits --out my/digits
"""


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """Options of ``sadm export``."""

    source: tyro.conf.Positional[str]
    """A built-in set such as 'surfaces:count=500,material=metal' or 'digits', or a folder."""
    out: str | None = None
    """The folder to write (required)."""
    count: int | None = None
    """This many images, spread evenly over the source; None = all."""
    resolution: int | None = None
    """Side in pixels (centre crop, antialiased); None = the source's own."""
    channels: Literal[1, 3, 4] | None = None
    """1 = grey, 3 = colour, 4 = colour with transparency; None = grey or colour, as the images are."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, opens the source and writes its images."""
    options: ExportOptions = parse(ExportOptions, arguments, "export", DESCRIPTION)
    out = required(options.out, "out", "export")
    from sadm.core.stopping import StopRequest
    from sadm.data import open_source
    from sadm.data.export import export, pick

    with ConsoleReporter() as reporter:
        opened = open_source(
            options.source,
            resolution=options.resolution,
            channels=options.channels,
            progress=lambda done, total: reporter.update("opening", done, total),
        )
        parts = pick(opened, options.count)
        for skip in parts[0][1].skipped:
            reporter.say(f"Left out: {skip.path}: {skip.reason}")
        with StopRequest() as stop:
            export(parts, out, lambda done, total: reporter.update("writing", done, total), stop=lambda: stop.requested)
    say(f"{sum(len(images) for _, images in parts)} images and metadata.csv in {out}")
