"""What all tabs share: where things are, the queue, the language, and how a mistake is shown."""

from __future__ import annotations

import dataclasses
import functools
import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from sadm.core.errors import UserError
from sadm.core.progress import clock
from sadm.core.terminal import printable
from sadm.studio.jobs import Job, Jobs
from sadm.studio.workspace import Workspace, chosen_of


@dataclasses.dataclass(frozen=True)
class Studio:
    """What a page works with.

    Attributes:
        workspace: where things are.
        jobs: the queue.
        text: what people read, by key.
        lang: "en" or "ja".
    """

    workspace: Workspace
    jobs: Jobs
    text: dict[str, str]
    lang: str

    def queue(self, title: str, command: Sequence[str], out: Path) -> str:
        """Puts a command in the queue, and says so."""
        self.jobs.add(title, command, str(out))
        self.jobs.tend()
        return self.text["queued"].format(title=title)


def shown_to_people(function: Callable[..., Any]) -> Callable[..., Any]:
    """Shows a user's mistake as a note on the page; anything else is a fault of ours, and is logged."""

    @functools.wraps(function)
    def wrapped(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except UserError as error:
            raise gr.Error(printable(str(error)), duration=None, print_exception=False) from error

    return wrapped


def picture(path: Path | None, about: str) -> str:
    """A picture for `gr.HTML`, with words for those who can't see it; small ones are enlarged with their pixels as they are.

    Args:
        path: within the workspace; None = there is none, which is left empty.
        about: the words.
    """
    if path is None:
        return ""
    words = html.escape(about)
    source = f"/gradio_api/file={quote(str(path))}"
    shown = f'<img src="{source}" alt="{words}" style="width: 100%; max-width: 420px; image-rendering: pixelated">'
    return f'<figure style="width: 100%"><figcaption>{words}</figcaption>{shown}</figure>'


def menu(names: Sequence[str], label: str, elem_id: str | None = None) -> gr.Dropdown:
    """A menu of names of which the last, the newest, is chosen."""
    return gr.Dropdown(names, value=chosen_of(names), label=label, elem_id=elem_id)


def choices(names: Sequence[str], chosen: str | None) -> gr.Dropdown:
    """A menu brought up to date. What is chosen stays as it is, if it is still there: whoever chooses another one while this is
    on its way to the page keeps the other one.

    Args:
        names: to choose from, new ones last.
        chosen: at present; without, the newest is.
    """
    return gr.Dropdown(names) if chosen in names else gr.Dropdown(names, value=chosen_of(names))


def describe(studio: Studio, job: Job) -> str:
    """A job in a line: state, how far it is, and how long it will take."""
    told, text = job.progress, studio.text
    state = text[job.state]
    if job.state != "running" or not told.get("total"):
        return f"{job.title} – {state}"
    share = told["done"] / told["total"]
    left = told.get("seconds_left")
    rest = "" if left is None else f", {clock(left)} {text['left']}"
    return f"{job.title} – {state}: {told['task']} {share:.0%}{rest}"
