"""Review generated images one by one before they leave."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from sadm.studio.context import Studio, choices, menu, picture, shown_to_people
from sadm.studio.workspace import chosen_of
from sadm.training.outputs import read_records
from sadm.training.reviews import add_review, export_generated, read_reviews


def build(studio: Studio, tab: gr.Tab) -> None:
    """The tab's content."""
    text = studio.text
    with gr.Row():
        folder = menu(studio.workspace.made(), text["folder"], "review-folder")
        reviewer = gr.Textbox(label=text["reviewer"], elem_id="review-reviewer")
    seen = gr.State(None)  # folder and name of the image that is shown: what is decided is about that one
    counts = gr.Markdown(elem_id="review-counts")
    with gr.Row():
        image = gr.HTML(elem_id="review-image")
        with gr.Column():
            about = gr.HTML(label=text["facts"], show_label=True, elem_id="review-facts")
            reason = gr.Textbox(label=text["reason"], elem_id="review-reason")
            with gr.Row():
                approve = gr.Button(text["approve"], variant="primary", elem_id="review-approve")
                reject = gr.Button(text["reject"], variant="stop", elem_id="review-reject")
            export = gr.Button(text["export_approved"], elem_id="review-export")
    parts = [folder, seen, counts, image, about, reason]

    @shown_to_people
    def look(given: str | None) -> tuple[Any, ...]:
        names = studio.workspace.made()
        chosen = chosen_of(names, given)
        return choices(names, given), *next_of(studio, chosen), ""

    def decide(approved: bool) -> Callable[..., tuple[Any, ...]]:
        @shown_to_people
        def decided(chosen: str, seen: tuple[str, str] | None, reason: str, reviewer: str) -> tuple[Any, ...]:
            if seen:
                add_review(studio.workspace.images(seen[0]), seen[1], approved, reason, reviewer)
            return look(chosen)

        return decided

    @shown_to_people
    def leave(chosen: str) -> str:
        source = studio.workspace.images(chosen)
        out = studio.workspace.folder / "approved" / source.name
        written = export_generated(source, out, approved_only=True)
        return text["exported"].format(written=written.written, out=out, left=written.left)

    folder.focus(lambda: gr.Dropdown(studio.workspace.made()), None, folder, show_progress="hidden")
    tab.select(look, folder, parts, show_progress="hidden")
    folder.change(look, folder, parts, show_progress="hidden")
    given = [folder, seen, reason, reviewer]
    approve.click(decide(True), given, parts)
    reject.click(decide(False), given, parts)
    export.click(leave, folder, counts)


def next_of(studio: Studio, chosen: str | None) -> tuple[tuple[str, str] | None, str, str, str]:
    """The first image without a review: its folder and name, how far the review is, the picture, and a table of its facts."""
    text = studio.text
    if chosen is None:
        return None, text["nothing_chosen"], "", ""
    source = studio.workspace.images(chosen)
    records, reviews = read_records(source), read_reviews(source)
    open_ = [name for name in sorted(records) if name not in reviews]
    approved = sum(reviews[name].approved for name in records if name in reviews)
    if not open_:
        said = text["all_reviewed"].format(count=len(records))
        rest = text["reviewed"].format(approved=approved, rejected=len(records) - approved, open=0)
        return None, f"{said} {rest}", "", ""
    rejected = len(records) - approved - len(open_)
    said = text["reviewed"].format(approved=approved, rejected=rejected, open=len(open_))
    return (chosen, open_[0]), said, picture(source / open_[0], open_[0]), table_of(records[open_[0]], text)


def table_of(facts: dict[str, Any], text: dict[str, str]) -> str:
    """A record of an image as a table of HTML, a line for each fact, under the names that the page has for them."""
    lines = []
    own = {name: value for name, value in facts.items() if name != "details"}
    for name, value in {**own, **facts.get("details", {})}.items():
        shown = text["yes" if value else "no"] if isinstance(value, bool) else value
        shown = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)
        title = html.escape(text.get(f"fact_{name}", name))
        head = f'<th scope="row" style="text-align: left; padding-right: 1em">{title}</th>'
        lines.append(f'<tr>{head}<td style="overflow-wrap: anywhere">{html.escape(shown)}</td></tr>')
    return f"<table>{''.join(lines)}</table>"
