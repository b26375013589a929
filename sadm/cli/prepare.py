"""``sadm prepare``."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from sadm.cli.options import parse
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say
from sadm.training.config import load_train_config, recipe_names

if TYPE_CHECKING:
    from sadm.data.preparation.advice import Recipe
    from sadm.data.preparation.preparing import Preparation

SMALL = "_small"
"""What ends the name of a recipe for a processor without a GPU."""
DESCRIPTION = """Finds out what is wrong with a folder of images, and what to type next. Nothing in it is changed.

Every image is decoded once, on all cores: unreadable and truncated files, exact and near duplicates, contradictory labels, images
on both sides of a split, sizes, class balance. The prepared folder then takes the source's place in `sadm train --data`, without
what was found unusable. Stop it with Ctrl-C; the same command goes on.

examples:
  sadm prepare path/to/images
  sadm prepare path/to/images --out prepared/parts --lang ja
  sadm prepare path/to/images --json
"""


@dataclasses.dataclass(frozen=True)
class PrepareOptions:
    """Options of ``sadm prepare``."""

    source: tyro.conf.Positional[str]
    """Anything that `sadm train --data` takes."""
    out: str | None = None
    """The prepared folder, outside the source; None = its name below 'prepared'."""
    resolution: int | None = None
    """Side length in pixels that is meant; smaller images are put in quarantine. None = suggested."""
    held_out: float = 0.2
    """Share of the images to hold out for judging, where the source does not say which."""
    near_duplicates: Annotated[int, tyro.conf.arg(metavar="DISTANCE")] = 12
    """Bits of 64 by which the perceptual hashes of near duplicates may differ before their pixels are compared."""
    max_megapixels: float | None = None
    """Refuse images with more pixels; None = 89, against decompression bombs."""
    white_level: int = 65535
    """The value of 16-bit grey that becomes white: 4095 for 12 bits stored in 16."""
    lang: Literal["en", "ja"] = "en"
    """Language of the contact sheet and of what is printed."""
    json: bool = False
    """Print counts by outcome and reason as JSON, and nothing else."""
    jobs: int | None = None
    """Threads; None = one for each core."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, prepares, and says what was found."""
    options: PrepareOptions = parse(PrepareOptions, arguments, "prepare", DESCRIPTION)
    from sadm.core.devices import resolve_device
    from sadm.core.files import write_atomically
    from sadm.data.preparation.preparing import Settings, prepare
    from sadm.data.preparation.sheet import render_sheet

    settings = Settings(
        resolution=options.resolution,
        held_out=options.held_out,
        near_duplicates=options.near_duplicates,
        max_megapixels=options.max_megapixels,
        white_level=options.white_level,
        jobs=options.jobs,
    )
    out = options.out or default_folder(options.source)
    with ConsoleReporter() as reporter:
        found = prepare(options.source, out, settings, recipes(resolve_device("auto").type), reporter)
    path = Path(out).expanduser() / "contact_sheet.html"
    write_atomically(path, render_sheet(found, options.lang, settings.fit))
    say(
        json.dumps(found.summary, indent=1, ensure_ascii=False)
        if options.json
        else described(found, path, options.lang)
    )


def default_folder(source: str) -> str:
    """Where a source is prepared: below the current folder, or beside the source where that would lie inside of it."""
    path = Path(source).expanduser()
    name = path.resolve().name if path.exists() else re.sub(r"[^\w.=,-]+", "_", source).strip("_")
    folder = Path("prepared") / name
    if path.is_dir() and path.resolve() in folder.resolve().parents:
        return str(path.resolve().parent / folder)
    return str(folder)


def recipes(device: str) -> list[Recipe]:
    """The packaged recipes that suit a kind of device, as far as the advice needs to know them."""
    from sadm.training.advising import advice_recipe

    return [advice_recipe(name, load_train_config(name)) for name in recipes_for(device)]


def recipes_for(device: str) -> list[str]:
    """Names of recipes: of one that comes in a small form, too, that form on the CPU, and the other elsewhere."""
    names = recipe_names()
    pairs = {f"{name}{SMALL}": name for name in names if f"{name}{SMALL}" in names}
    unsuitable = pairs.values() if device == "cpu" else pairs.keys()
    return [name for name in names if name not in unsuitable]


def described(found: Preparation, sheet: Path, lang: str) -> str:
    """What was found, as lines of text."""
    from sadm.data.preparation.sheet.render import point_text, verdict_lines
    from sadm.data.preparation.texts import sentence, texts

    message, summary = texts(lang), found.summary
    lines = [message[f"verdict_{summary['verdict']}"], *verdict_lines(summary, lang)]
    if summary["reasons"]:
        reasons = [
            sentence(lang, "reason_count", reason=message[f"reason_{key}"], count=count)
            for key, count in summary["reasons"].items()
        ]
        lines.append(message["reasons_line"].format(reasons=message["comma"].join(reasons)))
    marks = {"stop": "!", "look": "!", "note": "-"}
    lines += [f"  {marks[point['level']]} {point_text(point, lang)}" for point in summary["points"]]
    lines.append(message["sheet_written"].format(path=sheet))
    if found.advice.command:
        lines.append(message["next"].format(command=found.advice.command))
    return "\n".join(lines)
