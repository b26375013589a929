"""Start a training, or a comparison."""

from __future__ import annotations

from typing import Any

import gradio as gr

from sadm.studio import commands
from sadm.studio.context import Studio, shown_to_people
from sadm.training.config import recipe_names
from sadm.training.data_config import DataConfig

SIGNALS = ("hidden", "structure", "none")


def build(studio: Studio, tab: gr.Tab) -> None:
    """The tab's content."""
    text = studio.text
    with gr.Row():
        data = gr.Textbox(label=text["data"], info=text["data_info"], value="digits", elem_id="train-data")
        name = gr.Textbox(label=text["name"], info=text["name_info"], value="digits", elem_id="train-name")
    with gr.Row():
        recipe = gr.Dropdown(recipe_names(), value="digits", label=text["recipe"], info=text["recipe_info"])
        signal = gr.Radio(SIGNALS, value=SIGNALS[0], label=text["signal"], info=text["signal_info"])
    with gr.Row():
        steps = gr.Number(0, label=text["steps"], info=text["steps_info"], precision=0, elem_id="train-steps")
        resolution = gr.Number(0, label=text["resolution"], info=text["resolution_info"], precision=0)
        seeds = gr.Number(
            5, label=text["seeds"], info=text["seeds_info"], precision=0, minimum=2, elem_id="train-seeds"
        )
    with gr.Row():
        flip = gr.Checkbox(False, label=text["flip"])
        tell = gr.CheckboxGroup(_words(), label=text["tell"], info=text["tell_info"])
    with gr.Row():
        start = gr.Button(text["start_training"], variant="primary", elem_id="train-start")
        against = gr.Button(text["start_compare"], elem_id="compare-start")
    said = gr.Markdown(elem_id="train-said")

    @shown_to_people
    def train(
        data: str, name: str, recipe: str, signal: str, steps: int, size: int, flip: bool, tell: list[str]
    ) -> str:
        out = studio.workspace.new_run(name)
        words = commands.train(out, data, recipe, signal, steps, size, flip, tell)
        return studio.queue(text["work_train"].format(name=out.name), words, out)

    @shown_to_people
    def compare(
        data: str, name: str, recipe: str, seeds: int, steps: int, size: int, flip: bool, tell: list[str]
    ) -> str:
        out = studio.workspace.new_run(f"{name}-compare")
        words = commands.compare(out, data, recipe, seeds, studio.lang, steps, size, flip, tell)
        return studio.queue(text["work_compare"].format(name=out.name), words, out)

    start.click(train, [data, name, recipe, signal, steps, resolution, flip, tell], said)
    against.click(compare, [data, name, recipe, seeds, steps, resolution, flip, tell], said)


def _words() -> list[str]:
    """What a network can be told."""
    annotation: Any = DataConfig.model_fields["tell"].annotation
    return list(annotation.__args__[0].__args__)
