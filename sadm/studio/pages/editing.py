"""Work on one's own images: fill a part, restore, vary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from sadm.studio import commands
from sadm.studio.context import Studio, menu, shown_to_people
from sadm.studio.pages.drawing import follow_runs, gallery_of_made, to_be_made
from sadm.studio.pages.painting import painter
from sadm.studio.uploads import draws_squares, keep_images, mask_for, to_paint_on

DAMAGE = ("unknown", "mask", "lowres", "blur", "noise", "grey")


def build(studio: Studio, tab: gr.Tab) -> None:
    """The tab's content."""
    text = studio.text
    with gr.Row():
        run = menu(studio.workspace.runs(), text["model"], "edit-run")
        label = gr.Dropdown([], label=text["label"], info=text["edit_label_info"])
        proposals = gr.Number(
            4, label=text["proposals"], info=text["proposals_info"], precision=0, minimum=1, elem_id="edit-proposals"
        )
    with gr.Row():
        files = gr.File(
            label=text["your_images"], file_count="multiple", type="filepath", min_width=280, elem_id="edit-files"
        )
        paint = painter(studio, text["paint"], "edit-paint")
    with gr.Row():  # each thing that can be done above its button
        with gr.Column():
            fill = gr.Button(text["fill"], elem_id="edit-fill")
        with gr.Column():
            damage = gr.Dropdown(
                DAMAGE, value=DAMAGE[0], label=text["damage"], info=text["damage_info"], elem_id="edit-damage"
            )
            noise = gr.Slider(
                0.01,
                0.5,
                0.1,
                step=0.01,
                label=text["noise"],
                info=text["noise_info"],
                visible=False,
                elem_id="edit-noise",
            )
            restore = gr.Button(text["restore"], elem_id="edit-restore")
        with gr.Column():
            strength = gr.Slider(0.05, 1, 0.4, step=0.05, label=text["strength"], info=text["strength_info"])
            vary = gr.Button(text["vary"], elem_id="edit-vary")
    said = gr.Markdown(elem_id="edit-said")
    folder = gallery_of_made(studio, "edit-images")

    def act(kind: str, words: Callable[..., list[str]]) -> Callable[..., tuple[str, Any]]:
        @shown_to_people
        def acted(run: str, files: list[str], painted: Any, *rest: Any) -> tuple[str, Any]:
            source, out = studio.workspace.run(run), studio.workspace.new_images(kind, run or "")
            images = keep_images(studio.workspace, files)
            mask = mask_for(studio.workspace, painted, source)
            title = text["work_edit"].format(what=text[kind], name=run)
            return studio.queue(title, words(source, out, images, mask, *rest), out), to_be_made(studio, out)

        return acted

    def filled(run: Path, out: Path, images: Path, mask: Path | None, proposals: int, label: str) -> list[str]:
        return commands.inpaint(run, out, images, mask, proposals, label, draws_squares(run))

    def restored(
        run: Path, out: Path, images: Path, mask: Path | None, damage: str, proposals: int, noise: float
    ) -> list[str]:
        return commands.restore(run, out, images, damage, mask, proposals, noise, draws_squares(run))

    def varied(
        run: Path, out: Path, images: Path, mask: Path | None, strength: float, proposals: int, label: str
    ) -> list[str]:
        return commands.vary(run, out, images, strength, proposals, label, draws_squares(run))

    fill.click(act("fill", filled), [run, files, paint, proposals, label], [said, folder])
    restore.click(act("restore", restored), [run, files, paint, damage, proposals, noise], [said, folder])
    vary.click(act("vary", varied), [run, files, paint, strength, proposals, label], [said, folder])
    damage.change(lambda chosen: gr.Slider(visible=chosen == "noise"), damage, noise, show_progress="hidden")
    files.change(shown_to_people(to_paint_on), files, paint, show_progress="hidden")
    follow_runs(studio, run, label)
