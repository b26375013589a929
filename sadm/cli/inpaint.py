"""``sadm inpaint``."""

from __future__ import annotations

import dataclasses

import tyro

from sadm.cli.options import parse, required
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
class InpaintOptions:
    """Options of ``sadm inpaint``."""

    model: tyro.conf.Positional[str]
    """A run folder, or the model folder inside."""
    images: str | None = None
    """The images: anything that `sadm train --data` takes (required)."""
    mask: str | None = None
    """A file, white where images are to be made; 'own', the images' own masks; or 'box:SHARE', a box at random (required)."""
    out: str | None = None
    """The folder to write (required)."""
    limit: int | None = None
    """The first so many images; None = all."""
    proposals: int = 4
    """Proposals for each image."""
    label: str | None = None
    """Class name or index; None = each image's own, where it is known."""
    guidance_scale: float | None = None
    """Guide towards the class; 1 = off; None = the run's own."""
    resample: int = 4
    """How often each part of the way from noise is walked: more fits the surroundings better, and takes so many times as long."""
    jump: int = 1
    """Steps of each such part."""
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
    options: InpaintOptions = parse(InpaintOptions, arguments, "inpaint", DESCRIPTION)
    source, mask, out = (required(getattr(options, name), name, "inpaint") for name in ("images", "mask", "out"))
    from sadm.applications.images import with_sampling
    from sadm.applications.inpainting import masks_from, write_inpainted
    from sadm.applications.proposals import images_to_edit
    from sadm.applications.spaces import Space
    from sadm.training.model_folder import load_model

    with ConsoleReporter() as reporter:
        model = load_model(options.model, options.device)
        model = with_sampling(model, steps=options.steps, guidance_scale=options.guidance_scale)
        images = images_to_edit(source, Space(model).picture, options.resize, options.limit, reporter)
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
    say(
        f"{count} images in {out}: {options.proposals} proposals for each of {len(images)}; overview.png shows the first."
    )
