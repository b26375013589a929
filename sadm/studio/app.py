"""The page as a whole, and the server that shows it to this machine alone."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from sadm.core.errors import UserError
from sadm.studio.context import Studio
from sadm.studio.jobs import Jobs
from sadm.studio.pages import augmenting, drawing, editing, inspection, review, runs, training, work
from sadm.studio.texts import texts
from sadm.studio.workspace import REPORT, Workspace

LOCAL = ("127.0.0.1", "localhost", "::1")
_FONTS = ["system-ui", "sans-serif"]
_TABS = (
    ("tab_train", training.build),
    ("tab_runs", runs.build),
    ("tab_draw", drawing.build),
    ("tab_defects", inspection.build),
    ("tab_edit", editing.build),
    ("tab_augment", augmenting.build),
    ("tab_review", review.build),
    ("tab_jobs", work.build),
)
_CONTRAST = {
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_300",
    "input_placeholder_color": "*neutral_600",
    "input_placeholder_color_dark": "*neutral_300",
    "block_info_text_color": "*neutral_600",
    "block_info_text_color_dark": "*neutral_300",
    "block_label_text_color": "*neutral_700",
    "block_label_text_color_dark": "*neutral_200",
    "block_title_text_color": "*neutral_700",
    "block_title_text_color_dark": "*neutral_200",
    "link_text_color": "*primary_800",
    "link_text_color_dark": "*primary_300",
    "button_primary_background_fill": "*primary_700",
    "button_primary_background_fill_dark": "*primary_700",
    "button_primary_background_fill_hover": "*primary_800",
    "button_primary_background_fill_hover_dark": "*primary_800",
    "button_cancel_background_fill": "*neutral_200",
    "button_cancel_background_fill_dark": "*neutral_600",
    "button_cancel_text_color": "*neutral_900",
    "button_cancel_text_color_dark": "white",
}
"""Colours of the theme that are too faint to be read by everybody (WCAG 2.1 asks for 4.5:1)."""
_REPORTS_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"


def build_page(studio: Studio) -> gr.Blocks:
    """All tabs."""
    with gr.Blocks(title=studio.text["title"], analytics_enabled=False) as page:
        gr.Markdown(f"# {studio.text['title']}\n\n{studio.text['about'].format(folder=studio.workspace.folder)}")
        timers: dict[gr.Tab, list[gr.Timer]] = {}
        # Wrapped: the button of the menu that it has instead has no name, and can't be read aloud.
        with gr.Tabs(overflow_behavior="wrap"):
            for key, build in _TABS:
                with gr.Tab(studio.text[key], id=key, elem_id=key) as tab:
                    there = set(page.blocks)
                    build(studio, tab)
                    made = [page.blocks[number] for number in page.blocks.keys() - there]
                    timers[tab] = [block for block in made if isinstance(block, gr.Timer)]
        for tab in timers:
            _look_at_one(tab, timers)
    return page


def _look_at_one(tab: gr.Tab, timers: dict[gr.Tab, list[gr.Timer]]) -> None:
    """Has a tab that is opened look for news, and all others rest."""
    every = [timer for of_one in timers.values() for timer in of_one]

    def turn() -> list[Any]:
        return [gr.Timer(active=timer in timers[tab]) for timer in every]

    tab.select(turn, None, every, queue=False, show_progress="hidden")


def build_app(
    folder: str | Path,
    lang: str = "en",
    at_once: int = 1,
    password: str | None = None,
    hosts: tuple[str, ...] = LOCAL,
) -> FastAPI:
    """The web application.

    Args:
        folder: of the workspace.
        lang: "en" or "ja".
        at_once: commands that may run at a time.
        password: asked for, whatever the user's name; None = none.
        hosts: names under which it answers; a page of elsewhere that has its own name point here gets nothing.

    Raises:
        UserError: the folder can't be written, or there is no such language.
    """
    text, workspace = texts(lang), Workspace(folder)
    os.environ["GRADIO_TEMP_DIR"] = str(workspace.uploads)
    studio = Studio(workspace, Jobs(workspace.jobs_folder, at_once), text, lang)
    app = FastAPI(lifespan=_tending(studio.jobs), docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/reports/{name}")
    def report(name: str) -> Response:
        try:
            page = (workspace.run(name) / REPORT).read_text(encoding="utf-8")
        except (UserError, OSError):
            return PlainTextResponse("no such report", status_code=404)
        return HTMLResponse(page, headers={"Content-Security-Policy": _REPORTS_POLICY})

    theme = gr.themes.Default(font=_FONTS, font_mono=["ui-monospace", "monospace"]).set(**_CONTRAST)
    blocks = build_page(studio).queue(default_concurrency_limit=8)
    allowed = [str(workspace.runs_folder), str(workspace.out_folder)]
    how = {"theme": theme, "footer_links": [], "show_error": True, "ssr_mode": False}
    app = gr.mount_gradio_app(app, blocks, path="/", allowed_paths=allowed, **how)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    if password is not None:
        app.add_middleware(BaseHTTPMiddleware, dispatch=_asking_for(password))
    return app


def _tending(jobs: Jobs) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    """Starts what waits, as long as the server runs and whether anybody looks or not."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI):  # type: ignore[no-untyped-def]
        over = threading.Event()

        def tend() -> None:
            while not over.wait(1.0):
                with contextlib.suppress(OSError):
                    jobs.tend()

        thread = threading.Thread(target=tend, daemon=True)
        thread.start()
        yield
        over.set()
        thread.join()

    return lifespan


def _asking_for(password: str) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    """Lets a request through that gives the password (HTTP basic authentication)."""

    async def dispatch(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        given = request.headers.get("authorization", "")
        with contextlib.suppress(ValueError):
            text = base64.b64decode(given.removeprefix("Basic "), validate=True).decode("utf-8")
            if secrets.compare_digest(text.partition(":")[2].encode(), password.encode()):
                return await call_next(request)
        return PlainTextResponse("a password is needed", 401, {"WWW-Authenticate": 'Basic realm="SADM studio"'})

    return dispatch


def serve(app: FastAPI, host: str, port: int) -> None:
    """Serves until Ctrl-C. Commands that run go on.

    Raises:
        UserError: the port is taken.
    """
    import socket

    import uvicorn

    with contextlib.closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(f"--port {port} of {host} can't be used ({error.strerror}). Choose another one.") from error
    uvicorn.run(app, host=host, port=port, log_level="warning")
