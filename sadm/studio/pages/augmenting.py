"""Fill unbalanced classes."""

from __future__ import annotations

from typing import Any

import gradio as gr

from sadm.studio import commands
from sadm.studio.context import Studio, menu, shown_to_people
from sadm.studio.pages.drawing import follow_runs, gallery_of_made, to_be_made


def build(studio: Studio, tab: gr.Tab) -> None:
    """The tab's content."""
    text = studio.text
    with gr.Row():
        run = menu(studio.workspace.runs(), text["model"], "augment-run")
        target = gr.Textbox("largest", label=text["target"], info=text["target_info"])
    with gr.Row():
        with_real = gr.Checkbox(False, label=text["with_real"])
        measure = gr.Checkbox(True, label=text["measure_classes"])
        start = gr.Button(text["start_augment"], variant="primary", elem_id="augment-start")
    said = gr.Markdown(elem_id="augment-said")
    folder = gallery_of_made(studio, "augment-images")

    @shown_to_people
    def fill(run: str, target: str, with_real: bool, measure: bool) -> tuple[str, Any]:
        source, out = studio.workspace.run(run), studio.workspace.new_images("augmented", run or "")
        words = commands.augment(source, out, target, with_real, measure)
        return studio.queue(text["work_augment"].format(name=run), words, out), to_be_made(studio, out)

    start.click(fill, [run, target, with_real, measure], [said, folder])
    follow_runs(studio, run)
