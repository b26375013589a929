"""Draw images from a trained model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from sadm.core.errors import UserError
from sadm.studio import commands
from sadm.studio.context import Studio, choices, menu, shown_to_people
from sadm.studio.pages.runs import classes_of, guidance_of
from sadm.studio.workspace import chosen_of
from sadm.training.outputs import read_records

_SHOWN = 200
_STRONGEST = 5.0
"""Guidance scale up to which the slider goes, unless a model's own is above."""
EVERY = 3.0


def build(studio: Studio, tab: gr.Tab) -> None:
    """The tab's content."""
    text = studio.text
    with gr.Row():
        run = menu(studio.workspace.runs(), text["model"], "draw-run")
        label = gr.Dropdown([], label=text["label"], info=text["label_info"], elem_id="draw-label")
    with gr.Row():
        count = gr.Number(
            16, label=text["count"], info=text["count_info"], precision=0, minimum=1, elem_id="draw-count"
        )
        seed = gr.Number(0, label=text["seed"], info=text["seed_info"], precision=0, minimum=0, elem_id="draw-seed")
        guidance = gr.Slider(
            0, _STRONGEST, 1, step=0.1, label=text["guidance"], info=text["guidance_info"], elem_id="draw-guidance"
        )
        steps = gr.Number(0, label=text["steps"], info=text["steps_info"], precision=0)
    start = gr.Button(text["start_draw"], variant="primary", elem_id="draw-start")
    said = gr.Markdown(elem_id="draw-said")
    folder = gallery_of_made(studio, "draw-images")

    @shown_to_people
    def draw(run: str, count: int, label: str, seed: int, guidance: float, steps: int) -> tuple[str, Any]:
        source, out = studio.workspace.run(run), studio.workspace.new_images("drawn", run or "")
        words = commands.sample(source, out, count, label, seed, guidance, steps)
        return studio.queue(text["work_draw"].format(name=run), words, out), to_be_made(studio, out)

    @shown_to_people
    def own_guidance(chosen: str | None) -> Any:
        own = guidance_of(studio.workspace.run(chosen)) if chosen else 1.0
        return gr.Slider(maximum=max(_STRONGEST, own), value=own)

    start.click(draw, [run, count, label, seed, guidance, steps], [said, folder])
    when_chosen(own_guidance, run, guidance)
    follow_runs(studio, run, label)


def follow_runs(studio: Studio, run: gr.Dropdown, label: gr.Dropdown | None = None) -> None:
    """Keeps the menus of trainings and of their classes up to date."""

    def menu(chosen: str | None) -> Any:
        return choices(studio.workspace.runs(), chosen)

    @shown_to_people
    def classes(chosen: str | None) -> Any:
        found = classes_of(studio.workspace.run(chosen)) if chosen else []
        return gr.Dropdown(["", *found] if label is not None and not label.multiselect else found, value=None)

    run.focus(menu, run, run)
    gr.Timer(EVERY).tick(menu, run, run, show_progress="hidden")
    if label is not None:
        when_chosen(classes, run, label)


def when_chosen(function: Callable[..., Any], run: gr.Dropdown, what: gr.Component) -> None:
    """Brings a part of the page up to date when another training is chosen, and with the page, on which one is chosen already."""
    gr.on(None, function, run, what, show_progress="hidden")


def gallery_of_made(studio: Studio, elem_id: str) -> gr.Dropdown:
    """A menu of folders of generated images, the newest chosen, above what is in it."""
    text = studio.text
    folder = menu(studio.workspace.made(), text["folder"])
    gallery = gr.Gallery(label=text["made"], columns=8, object_fit="contain", height=420, elem_id=elem_id)
    shown = gr.State([])

    def images(chosen: str | None, before: list[str]) -> tuple[Any, list[str]]:
        """What is in a folder; nothing where it is shown already, so that an image that somebody looks at stays."""
        found = images_in(studio, chosen)
        names = [path for path, _ in found]
        return (gr.skip() if names == before else found), names

    @shown_to_people
    def look(given: str | None, before: list[str]) -> tuple[Any, Any, list[str]]:
        names = studio.workspace.made()
        if given and given not in names:
            names.append(given)  # see `to_be_made`
        return choices(names, given), *images(given or chosen_of(names), before)

    folder.change(shown_to_people(images), [folder, shown], [gallery, shown], show_progress="hidden")
    gr.Timer(EVERY).tick(look, [folder, shown], [folder, gallery, shown], show_progress="hidden")
    return folder


def to_be_made(studio: Studio, out: Path) -> gr.Dropdown:
    """The menu of `gallery_of_made`, with a folder chosen that is not there yet: work that was asked for will write it."""
    return gr.Dropdown([*studio.workspace.made(), out.name], value=out.name)


def images_in(studio: Studio, name: str | None) -> list[tuple[str, str]]:
    """Paths and captions of the first images of a folder; none where it is not there yet."""
    try:
        folder = studio.workspace.images(name)
    except UserError:
        return []
    records = sorted(read_records(folder).items())[:_SHOWN]
    return [(str(folder / file), record.get("label") or file) for file, record in records if (folder / file).is_file()]
