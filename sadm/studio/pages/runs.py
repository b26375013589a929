"""Look at trainings while they run, and at reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from sadm.core.errors import UserError
from sadm.core.files import read_object
from sadm.studio.context import Studio, choices, menu, picture, shown_to_people
from sadm.studio.workspace import REPORT, chosen_of
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
        run = menu(studio.workspace.runs(), text["run"], "runs-run")
        beside = gr.Dropdown(
            [], label=text["beside"], info=text["beside_info"], multiselect=True, elem_id="runs-beside"
        )
    facts = gr.Markdown(elem_id="runs-facts")
    with gr.Row():
        curve = gr.LinePlot(
            None,
            x=text["step"],
            y=text["loss"],
            color=text["run"],
            label=text["loss"],
            height=320,
            min_width=280,
            elem_id="runs-curve",
        )
        samples = gr.HTML(min_width=280, elem_id="runs-samples")
    reports = gr.HTML(elem_id="runs-reports")
    shown = gr.State(None)

    @shown_to_people
    def look(given: str | None, others: list[str], before: Any) -> tuple[Any, ...]:
        names = studio.workspace.runs()
        chosen = chosen_of(names, given)
        menus = choices(names, given), gr.Dropdown(names)
        links = reports_of(studio)
        if chosen is None:
            return *menus, text["no_runs"], None, "", links, None
        folder = studio.workspace.run(chosen)
        together = [chosen, *(name for name in others if name in names and name != chosen)]
        curves = {name: read_metrics(studio.workspace.run(name)) for name in together}
        latest = samples_of(folder)
        now = [str(latest), {name: len(lines) for name, lines in curves.items()}]
        pictures = (
            (gr.skip(), gr.skip())
            if now == before
            else (
                curves_of(studio, curves),
                picture(latest, text["latest_samples"]),
            )
        )
        return *menus, facts_of(studio, folder), *pictures, links, now

    given, parts = [run, beside, shown], [run, beside, facts, curve, samples, reports, shown]
    for happens in (run.input, beside.input, tab.select, gr.Timer(EVERY).tick):
        happens(look, given, parts, show_progress="hidden")


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


def curves_of(studio: Studio, trainings: dict[str, list[dict[str, float]]]) -> pd.DataFrame | None:
    """The loss over steps of each training by its name, thinned where there are many."""
    step, loss, run = (studio.text[key] for key in ("step", "loss", "run"))
    rows = [
        {step: line["step"], loss: line.get("loss"), run: name}
        for name, lines in trainings.items()
        for line in lines[:: max(1, len(lines) // _POINTS)]
    ]
    return pd.DataFrame(rows) if rows else None


def samples_of(folder: Path) -> Path | None:
    """The last grid of samples."""
    grids = sorted((folder / SAMPLES).glob("step-*.png"))
    return grids[-1] if grids else None


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


def guidance_of(folder: Path) -> float:
    """The guidance scale that a training samples with unless told otherwise; 1, which is none, where nothing says so."""
    try:
        return read_run_config(folder).sampling.guidance_scale
    except UserError:
        return 1.0
