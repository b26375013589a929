"""``sadm studio``."""

from __future__ import annotations

import dataclasses
from typing import Literal

from sadm.cli.options import parse
from sadm.core.errors import UserError
from sadm.core.optional import import_optional
from sadm.core.terminal import say

DESCRIPTION = """A page in the browser: train, look, draw, review. For this machine alone, unless a host and a password are given.

Whatever is started there goes on when the page is closed, and when the studio is. docs/studio.md

examples:
  sadm studio
  sadm studio --folder my/work --lang ja
  sadm studio --host 0.0.0.0 --name workshop.example --password-file secret.txt
"""
_HERE = ("127.0.0.1", "localhost", "::1")


@dataclasses.dataclass(frozen=True)
class StudioOptions:
    """Options of ``sadm studio``."""

    folder: str = "studio"
    """Where trainings, images and uploads are kept."""
    lang: Literal["en", "ja"] = "en"
    """Language of the page."""
    port: int = 7860
    """Where the page is: http://127.0.0.1:PORT."""
    host: str = "127.0.0.1"
    """Address to listen at; another than this machine's own needs a password."""
    name: tuple[str, ...] = ()
    """Further names under which the page is asked for, with another host."""
    password_file: str | None = None
    """A file with the password that is asked for."""
    at_once: int = 1
    """Commands that run at a time; others wait."""


def run(arguments: list[str]) -> None:
    """Parses the arguments and serves the page until Ctrl-C."""
    options: StudioOptions = parse(StudioOptions, arguments, "studio", DESCRIPTION)
    password = None if options.password_file is None else _password(options.password_file)
    if options.host not in _HERE and password is None:
        raise UserError(
            f"--host {options.host} lets other machines in: give a password, too (--password-file FILE), or leave --host out."
        )
    if options.at_once < 1:
        raise UserError(f"--at-once is {options.at_once}; expected at least 1.")
    import_optional("gradio", "studio", "the studio")
    from sadm.studio.app import LOCAL, build_app, serve

    app = build_app(options.folder, options.lang, options.at_once, password, (*LOCAL, options.host, *options.name))
    say(f"The studio is at http://{options.host}:{options.port} (Ctrl-C closes it; work goes on)")
    serve(app, options.host, options.port)


def _password(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            password = file.readline().rstrip("\n")
    except OSError as error:
        raise UserError(f"--password-file {path} can't be read ({error.strerror}).") from error
    if len(password) < 8:
        raise UserError(f"the password in {path} has {len(password)} characters; expected at least 8.")
    return password
