"""All work: what waits, runs and has ended; stop it, go on with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from sadm.studio.context import Studio, describe, shown_to_people

EVERY = 2.0


def build(studio: Studio, tab: gr.Tab) -> None:
    """The tab's content."""
    text, jobs = studio.text, studio.jobs
    job = gr.Radio([], label=text["job"], elem_id="work-job")
    empty = gr.Markdown(text["no_jobs"])
    with gr.Row():
        stop = gr.Button(text["stop"], elem_id="work-stop")
        go_on = gr.Button(text["go_on"], elem_id="work-go-on")
        remove = gr.Button(text["remove"], elem_id="work-remove")
    log = gr.Textbox(label=text["log"], lines=14, max_lines=14, interactive=False, elem_id="work-log")

    @shown_to_people
    def look(given: str | None) -> tuple[Any, Any, str]:
        jobs.tend()
        there = jobs.all()
        names = [one.name for one in there]
        chosen = given if given in names else next(iter(names), None)
        rows = [(describe(studio, one), one.name) for one in there]
        menu = gr.Radio(rows) if given in names else gr.Radio(rows, value=chosen)
        said = jobs.job(chosen).log if chosen else ""
        return menu, gr.Markdown(visible=not there), said

    def act(action: Callable[[str], None]) -> Callable[[str | None], tuple[Any, Any, str]]:
        @shown_to_people
        def acted(chosen: str | None) -> tuple[Any, Any, str]:
            if not chosen:
                gr.Info(text["nothing_chosen"])
            else:
                action(chosen)
            return look(chosen)

        return acted

    parts = [job, empty, log]
    for button, action in ((stop, jobs.stop), (go_on, jobs.go_on), (remove, jobs.remove)):
        button.click(act(action), job, parts)
    tab.select(look, job, parts, show_progress="hidden")
    job.input(look, job, parts, show_progress="hidden")
    gr.Timer(EVERY).tick(look, job, parts, show_progress="hidden")
