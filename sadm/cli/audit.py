"""``sadm audit``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Literal

import tyro

from sadm.cli.options import parse
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say

DESCRIPTION = """Finds out whether a trained model copies its training images.

Draws images, looks for near copies (flipped, turned, shifted or re-coloured ones, too), and tests whether generated images lie
closer to the training images than fresh real ones do. Writes audit.json and audit.html, a gallery, in the run folder. Stop it
with Ctrl-C; the same command goes on.

examples:
  sadm audit runs/digits
  sadm audit runs/digits --count 5000 --lang ja
  sadm audit runs/digits --images path/to/generated --json
"""


@dataclasses.dataclass(frozen=True)
class AuditOptions:
    """Options of ``sadm audit``."""

    run: tyro.conf.Positional[str]
    """A run folder."""
    count: int = 1000
    """How many images to draw."""
    seed: int = 0
    """Seed of the generated images, and of the division of held-out images."""
    images: str | None = None
    """Audit the images of this folder instead of drawing some."""
    out: str | None = None
    """Folder for audit.json and audit.html; None = the run folder."""
    device: str = "auto"
    """'auto' = the accelerator if there is one, else 'cpu'."""
    lang: Literal["en", "ja"] = "en"
    """Language of the page and of what is printed."""
    json: bool = False
    """Print JSON instead of the verdict."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, audits, writes the page, and says what was found."""
    options: AuditOptions = parse(AuditOptions, arguments, "audit", DESCRIPTION)
    from sadm.core.files import write_atomically, write_json
    from sadm.experiments.auditing import audit_run, notes, render_audit, texts, verdict_line

    with ConsoleReporter() as reporter:
        audited = audit_run(options.run, options.count, options.seed, options.images, options.device, reporter)
    folder = Path(options.out or options.run)
    facts = audited.facts | {"sentence": verdict_line(audited.facts, options.lang)}
    write_json(folder / "audit.json", facts)
    write_atomically(folder / "audit.html", render_audit(audited, options.lang))
    if options.json:
        say(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    say(facts["sentence"])
    for note in notes(facts, options.lang):
        say(f"  - {note}")
    say(texts(options.lang)["written"].format(path=folder / "audit.html"))
