"""A field to paint a mask in: a plain canvas, which needs no graphics card and can be used with a mouse, a finger or keys."""

from __future__ import annotations

import html
from importlib.resources import files

import gradio as gr

from sadm.studio.context import Studio


def painter(studio: Studio, label: str, elem_id: str) -> gr.HTML:
    """A field whose value is what `sadm.studio.uploads.painted_mask` reads: ``picture`` below the paint, and ``mask``.

    Args:
        studio: for the language.
        label: above the field.
        elem_id: of the field on the page.
    """
    text = {name: html.escape(studio.text[name]) for name in ("paint_how", "brush", "erase", "undo", "clear")}
    name = html.escape(label)
    template = f"""
<div class="name">{name}</div>
<div class="field">
<canvas width="256" height="256" tabindex="0" role="application" aria-label="{name}. {text["paint_how"]}"></canvas>
</div>
<div class="how">{text["paint_how"]}</div>
<div class="tools">
<label>{text["brush"]} <input class="brush" type="range" min="2" max="64" value="16"></label>
<label><input class="erase" type="checkbox"> {text["erase"]}</label>
<button type="button" class="undo">{text["undo"]}</button>
<button type="button" class="clear">{text["clear"]}</button>
</div>"""
    with gr.Column(min_width=280):  # in a row that is narrower than it and its neighbour, it goes below
        return gr.HTML(
            {"picture": "", "mask": ""},
            html_template=template,
            css_template=_beside("painting.css"),
            js_on_load=_beside("painting.js"),
            apply_default_css=False,
            container=True,
            elem_id=elem_id,
        )


def _beside(name: str) -> str:
    return files("sadm.studio.pages").joinpath(name).read_text(encoding="utf-8")
