"""``sadm verify``."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import tyro

from sadm.cli.options import parse
from sadm.core.errors import UserError
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say

if TYPE_CHECKING:
    from sadm.core.marking import Mark
    from sadm.core.verifying import Verified

DESCRIPTION = """Reads the marks of images: whether a model made or changed them, which one, from which data and seed.

Exit code 1 where a file has no mark, a damaged one, or (with --model) another model's. A mark that is missing proves nothing:
any program can remove it, and a forger can write one. See docs/verify.md.

examples:
  sadm verify runs/digits/generated
  sadm verify photo.png scan.jpg
  sadm verify runs/digits/generated --model runs/digits --json
"""
_FAILED = 1


@dataclasses.dataclass(frozen=True)
class VerifyOptions:
    """Options of ``sadm verify``."""

    files: tyro.conf.Positional[tuple[str, ...]]
    """Images, or folders of images: PNG, JPEG, WebP, TIFF."""
    model: str | None = None
    """A run or model folder: marks must name this model."""
    unchanged: bool = False
    """Exit code 1 also where pixels were changed since: re-compressed, resized, painted over."""
    json: bool = False
    """Print JSON instead of lines."""


def run(arguments: list[str]) -> int:
    """Parses the arguments, looks into the files, says what they are, and returns the exit code."""
    options: VerifyOptions = parse(VerifyOptions, arguments, "verify", DESCRIPTION)
    if not options.files:
        raise UserError("no file was given. See: sadm verify --help")
    from sadm.core.verifying import FAILING, counts, verify_all

    model = None
    if options.model is not None:
        from sadm.training.model_folder import model_hash

        model = model_hash(options.model)
    with ConsoleReporter() as reporter:
        found = verify_all(options.files, model, lambda done, total: reporter.update("reading", done, total))
    bad = (*FAILING, "changed") if options.unchanged else FAILING
    failed = sum(one.verdict in bad for one in found)
    if options.json:
        facts = {"counts": counts(found), "failed": failed, "files": [one.as_dict() for one in found]}
        say(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        for one in found:
            say(_one_line(_described(one)))
        told = ", ".join(f"{number} {verdict}" for verdict, number in counts(found).items())
        say(f"{len(found)} {'file' if len(found) == 1 else 'files'}: {told}")
    return _FAILED if failed else 0


def _described(one: Verified) -> str:
    if one.verdict == "damaged":
        return f"{one.path}: DAMAGED: {one.reason}"
    if one.mark is None:
        return f"{one.path}: NO MARK of SADM"
    said = _said(one.mark)
    if one.verdict == "other model":
        return f"{one.path}: ANOTHER MODEL: {said}"
    return f"{one.path}: {said}{'; pixels changed since' if one.verdict == 'changed' else ''}"


def _said(mark: Mark) -> str:
    """What a mark says, in a line."""
    parts = [f"model {mark.model[:12]}" if mark.model else "", f"data {mark.data[:12]}" if mark.data else ""]
    parts += [f"seed {mark.seed}" if mark.seed is not None else "", f"label {mark.label}" if mark.label else ""]
    parts += [f"{name} {value}" for name, value in sorted(mark.details.items())]
    made = "a real image, changed" if mark.edited else "generated"
    return ", ".join([f"{made} by {mark.tool} {mark.version}".rstrip(), *(part for part in parts if part)])


def _one_line(text: str) -> str:
    """Names and labels come from anybody, and must not look like a further line."""
    return " ".join(text.splitlines())
