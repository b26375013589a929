"""``sadm vary``."""

from __future__ import annotations

import dataclasses
from typing import Any

import tyro

from sadm.cli.options import parse, required
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
class VaryOptions:
    """Options of ``sadm vary``."""

    model: tyro.conf.Positional[str]
    """A run folder, or the model folder inside."""
    images: str | None = None
    """The images: anything that `sadm train --data` takes (required)."""
    out: str | None = None
    """The folder to write (required)."""
    strength: float = 0.5
    """Share of the way from noise that is taken, above 0 and at most 1: 0.2 changes details, of 0.9 little is left."""
    proposals: int = 4
    """Variations of each image."""
    label: str | None = None
    """Class name or index; None = each image's own, where it is known."""
    mix: tuple[str, ...] = ()
    """CLASS=WEIGHT of several classes: what is likely in all of them."""
    between: tuple[str, str] | None = None
    """Names of two of the images, or their numbers from 0: the way from one to the other, instead of variations."""
    count: int = 7
    """Images on that way, the two included."""
    limit: int | None = None
    """The first so many images; None = all."""
    guidance_scale: float | None = None
    """Guide towards the class; 1 = off; None = the run's own."""
    steps: int | None = None
    """Sampling steps; None = the run's own."""
    resize: bool = False
    """Crop, resize and convert images that are not of the model's size and channels."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """'auto' = the accelerator if there is one, else 'cpu'."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, draws, and says what was written."""
    options: VaryOptions = parse(VaryOptions, arguments, "vary", DESCRIPTION)
    source, out = (required(getattr(options, name), name, "vary") for name in ("images", "out"))
    from sadm.applications.images import with_sampling
    from sadm.applications.proposals import images_to_edit
    from sadm.applications.spaces import Space
    from sadm.applications.varying import Wish, parse_mix, write_between, write_variations
    from sadm.training.model_folder import load_model

    wish = Wish(options.strength, options.label, parse_mix(options.mix), options.proposals, options.seed)
    wish.check()
    if options.between is not None and (options.label is not None or options.mix):
        raise UserError("--between goes from class to class by itself; leave --label and --mix out.")
    with ConsoleReporter() as reporter:
        model = load_model(options.model, options.device)
        model = with_sampling(model, steps=options.steps, guidance_scale=options.guidance_scale)
        images = images_to_edit(source, Space(model).picture, options.resize, options.limit, reporter)
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
    return f"Variations of {len(facts['images'])} images in {out}: " + "; ".join(parts) + ". More in variations.json."
