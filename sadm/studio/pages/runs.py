"""Look at trainings while they run, and at reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from sadm.core.errors import UserError
from sadm.core.files import read_object
from sadm.studio.context import Studio, shown_to_people
from sadm.studio.workspace import REPORT
from sadm.training.description import model_spec
from sadm.training.journal import read_metrics
from sadm.training.run import FACTS, SAMPLES, read_run_config

_POINTS = 400  # of the curve
EVERY = 3.0
"""Seconds between two looks."""


def build(studio: Studio, tab: gr.Tab) -> None:
    """The tab's content."""
    text = studio.text
    with gr.Row():
        run = gr.Dropdown(studio.workspace.runs(), label=text["run"], elem_id="runs-run", scale=4)
        again = gr.Button(text["refresh"], scale=1)
    facts = gr.Markdown(elem_id="runs-facts")
    with gr.Row():
        curve = gr.LinePlot(None, x=text["step"], y=text["loss"], label=text["loss"], height=260)
        samples = gr.Image(label=text["latest_samples"], interactive=False, height=320, buttons=["download"])
    reports = gr.HTML(elem_id="runs-reports")

    @shown_to_people
    def look(chosen: str | None) -> tuple[Any, ...]:
        names = studio.workspace.runs()
        chosen = chosen if chosen in names else next(iter(names), None)
        menu = gr.Dropdown(names, value=chosen)
        links = reports_of(studio)
        if chosen is None:
            return menu, text["no_runs"], None, None, links
        folder = studio.workspace.run(chosen)
        return menu, facts_of(studio, folder), curve_of(studio, folder), samples_of(folder), links

    parts = [run, facts, curve, samples, reports]
    run.input(look, run, parts)
    again.click(look, run, parts)
    tab.select(look, run, parts, show_progress="hidden")
    gr.Timer(EVERY).tick(look, run, parts, show_progress="hidden")


def facts_of(studio: Studio, folder: Path) -> str:
    """How far a training is, and what its watchdog has done."""
    text, lines = studio.text, read_metrics(folder)
    said = []
    try:
        ended = read_object(folder / FACTS)
        if ended.get("finished"):
            said.append(text["finished"].format(steps=ended["steps"], seconds=ended["cpu_seconds"]))
    except UserError:
        pass  # it has not written any yet
    if lines and not said:
        last, total = lines[-1], read_run_config(folder).optimiser.steps
        said.append(
            text["step_of"].format(step=last["step"], total=total, images=last["images"], memory=last["memory_mib"])
        )
    if lines and "events" in lines[-1]:
        count = round(lines[-1]["events"])
        said.append(text["watchdog_acted"].format(count=count) if count else text["watchdog_quiet"])
    return "  \n".join(said)


def curve_of(studio: Studio, folder: Path) -> pd.DataFrame | None:
    """The loss over steps, thinned where there are many."""
    lines = read_metrics(folder)
    lines = lines[:: max(1, len(lines) // _POINTS)]
    if not lines:
        return None
    step, loss = studio.text["step"], studio.text["loss"]
    return pd.DataFrame({step: [line["step"] for line in lines], loss: [line.get("loss") for line in lines]})


def samples_of(folder: Path) -> str | None:
    """The last grid of samples."""
    grids = sorted((folder / SAMPLES).glob("step-*.png"))
    return str(grids[-1]) if grids else None


def reports_of(studio: Studio) -> str:
    """Links to reports, each in a tab of its own."""
    text = studio.text
    names = [name for name in studio.workspace.comparisons() if (studio.workspace.run(name) / REPORT).is_file()]
    if not names:
        return f"<p>{text['no_reports']}</p>"
    links = (
        f'<li><a href="/reports/{name}" target="_blank">{text["open_report"].format(name=name)}</a></li>'
        for name in names
    )
    return f"<p>{text['reports']}</p><ul>{''.join(links)}</ul>"  # names are plain: see `plain_name`


def classes_of(folder: Path) -> list[str]:
    """Classes of a training's model; none before its first checkpoint."""
    try:
        return list(model_spec(folder).class_names)
    except UserError:
        return []
