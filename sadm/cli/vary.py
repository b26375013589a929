"""``sadm vary``."""

from __future__ import annotations

import dataclasses
from typing import Any

from sadm.cli.editing import EditOptions
from sadm.cli.options import parse
from sadm.core.errors import UserError
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say

DESCRIPTION = """Makes variations of your images: in details or in nearly all, of another class or a mix, or the way to another.

Says how far the variations are from their original and from each other (variations.json). The same command goes on after an
interruption. docs/vary.md

examples:
  sadm vary runs/parts --images my/designs --out my/variations --strength 0.3
  sadm vary runs/parts --images my/designs --out my/others --strength 0.7 --label round --guidance-scale 2
  sadm vary runs/parts --images my/designs --out my/mixes --strength 0.8 --mix round=2 square=1
  sadm vary runs/parts --images my/designs --out my/way --between a.png b.png --count 9
"""


@dataclasses.dataclass(frozen=True)
class VaryOptions(EditOptions):
    """Options of ``sadm vary``."""

    strength: float = 0.5
    """Share of the way from noise that is taken, above 0 and at most 1: 0.2 changes details, of 0.9 little is left."""
    mix: tuple[str, ...] = ()
    """CLASS=WEIGHT of several classes: what is likely in all of them."""
    between: tuple[str, str] | None = None
    """Names of two of the images, or their numbers from 0: the way from one to the other, instead of variations."""
    count: int = 7
    """Images on that way, the two included."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, draws, and says what was written."""
    options: VaryOptions = parse(VaryOptions, arguments, "vary", DESCRIPTION)
    _, out = options.needed("vary", "images", "out")
    from sadm.applications.spaces import Space
    from sadm.applications.varying import Wish, parse_mix, write_between, write_variations

    wish = Wish(options.strength, options.label, parse_mix(options.mix), options.proposals, options.seed)
    wish.check()
    if options.between is not None and (options.label is not None or options.mix):
        raise UserError("--between goes from class to class by itself; leave --label and --mix out.")
    with ConsoleReporter() as reporter:
        model = options.open_model()
        images = options.open_images(Space(model).picture, reporter)
        if options.between is not None:
            facts = write_between(model, images, options.between, out, options.count)
        else:
            facts = write_variations(model, images, out, wish, reporter)
    say(_of_the_way(facts, out) if options.between is not None else _of_variations(facts, out))


def _of_the_way(facts: dict[str, Any], out: str) -> str:
    first, last = facts["comes_back_within"]
    return (
        f"{facts['count']} images from {facts['between'][0]} to {facts['between'][1]} in {out}. The two come back within "
        f"{first:.1f} and {last:.1f} grey levels; they are {facts['apart']:.1f} apart."
    )


def _of_variations(facts: dict[str, Any], out: str) -> str:
    distance, diversity, apart = facts["mean"]["distance"], facts["mean"]["diversity"], facts["apart"]
    parts = [f"{distance['rms']:.1f} grey levels from their originals"]
    if diversity["rms"] is not None:
        parts.append(f"{diversity['rms']:.1f} from each other")
    if apart["rms"] is not None:
        parts.append(f"the originals are {apart['rms']:.1f} apart")
    return f"Images varied: {len(facts['images'])}, in {out}: " + "; ".join(parts) + ". More in variations.json."
