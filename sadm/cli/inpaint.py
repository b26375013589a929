"""``sadm inpaint``."""

from __future__ import annotations

import dataclasses

from sadm.cli.editing import EditOptions
from sadm.cli.options import parse
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say

DESCRIPTION = """Makes a part of your images anew, so that it fits the rest; several proposals for each.

Outside of the mask every pixel stays as it was, to the bit. The same command goes on after an interruption. docs/inpaint.md

examples:
  sadm inpaint runs/parts --images my/parts --mask hole.png --out my/filled
  sadm inpaint runs/parts --images my/parts --mask own --out my/filled --proposals 8
  sadm inpaint runs/digits --images digits --limit 4 --mask box:0.3 --out my/threes --label 3 --guidance-scale 2
"""


@dataclasses.dataclass(frozen=True)
class InpaintOptions(EditOptions):
    """Options of ``sadm inpaint``."""

    mask: str | None = None
    """A file, white where images are to be made; 'own', the images' own masks; or 'box:SHARE', a box at random (required)."""
    resample: int = 4
    """How often each part of the way from noise is walked: more fits the surroundings better, and takes so many times as long."""
    jump: int = 1
    """Steps of each such part."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, draws, and says what was written."""
    options: InpaintOptions = parse(InpaintOptions, arguments, "inpaint", DESCRIPTION)
    _, mask, out = options.needed("inpaint", "images", "mask", "out")
    from sadm.applications.inpainting import masks_from, write_inpainted
    from sadm.applications.spaces import Space

    with ConsoleReporter() as reporter:
        model = options.open_model()
        images = options.open_images(Space(model).picture, reporter)
        masks = masks_from(mask, images, options.seed)
        count = write_inpainted(
            model,
            images,
            masks,
            out,
            options.label,
            options.proposals,
            options.resample,
            options.jump,
            options.seed,
            reporter,
        )
    say(f"Images: {count}, {options.proposals} for each of {len(images)}, in {out}; overview.png shows the first.")
