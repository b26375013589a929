"""Draw defects on good images."""

from __future__ import annotations

from typing import Any

import gradio as gr

from sadm.applications.defects import LAYOUTS
from sadm.studio import commands
from sadm.studio.context import Studio, menu, shown_to_people
from sadm.studio.pages.drawing import follow_runs, gallery_of_made, to_be_made
from sadm.studio.pages.painting import painter
from sadm.studio.uploads import mask_for


def build(studio: Studio, tab: gr.Tab) -> None:
    """The tab's content."""
    text = studio.text
    with gr.Row():
        run = menu(studio.workspace.runs(), text["model"], "defects-run")
        defect = gr.Dropdown(
            [], label=text["defect"], info=text["defect_info"], multiselect=True, elem_id="defects-kind"
        )
        count = gr.Number(20, label=text["count"], precision=0, minimum=1, elem_id="defects-count")
    with gr.Row():
        low = gr.Slider(0, 1, 0, step=0.05, label=text["severity_low"], info=text["severity_info"])
        high = gr.Slider(0, 1, 0, step=0.05, label=text["severity_high"])
        place = gr.Textbox("anywhere", label=text["place"], info=text["place_info"])
        layout = gr.Dropdown([*LAYOUTS], value="classes", label=text["layout"])
    with gr.Row():
        region = painter(studio, text["region"], "defects-region")
        with gr.Column():
            measure = gr.Checkbox(False, label=text["measure"])
            start = gr.Button(text["start_defects"], variant="primary", elem_id="defects-start")
            said = gr.Markdown(elem_id="defects-said")
    folder = gallery_of_made(studio, "defects-images")

    @shown_to_people
    def draw(
        run: str,
        kinds: list[str],
        count: int,
        low: float,
        high: float,
        place: str,
        layout: str,
        region: Any,
        measure: bool,
    ) -> tuple[str, Any]:
        source, out = studio.workspace.run(run), studio.workspace.new_images("defects", run or "")
        mask = mask_for(studio.workspace, region, source)
        severity = (low, max(low, high)) if high > 0 else None
        words = commands.defects(
            source, out, kinds, count, severity, place, None if mask is None else str(mask), layout, measure
        )
        return studio.queue(text["work_defects"].format(name=run), words, out), to_be_made(studio, out)

    start.click(draw, [run, defect, count, low, high, place, layout, region, measure], [said, folder])
    follow_runs(studio, run, defect)
