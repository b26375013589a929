"""``sadm restore``."""

from __future__ import annotations

import dataclasses
from typing import Literal

from sadm.cli.editing import EditOptions
from sadm.cli.options import parse
from sadm.core.errors import UserError
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say

DESCRIPTION = """Restores damaged images, several times, and shows where the proposals differ: there the model invents.

What was measured is kept, as far as it is free of noise; what is missing is drawn as the model knows such images. Never read a
number, a name or a line off a restored image where its map of uncertainty is bright. The same command goes on after an
interruption. docs/restore.md

examples:
  sadm restore runs/drawings --images my/scans --out my/restored --damage mask --mask holes.png
  sadm restore runs/drawings --images my/small --out my/restored --damage lowres --factor 2
  sadm restore runs/drawings --images my/scans --out my/restored --damage blur --blur 1.5 --noise 0.02
  sadm restore runs/drawings --images my/scans --out my/restored --damage noise --noise 0.1
"""


@dataclasses.dataclass(frozen=True)
class RestoreOptions(EditOptions):
    """Options of ``sadm restore``."""

    damage: Literal["mask", "lowres", "blur", "noise", "grey", "unknown"] | None = None
    """What has happened (required); 'unknown' needs a model that was trained with --data.tell damage, others one of sound images.
    """
    mask: str | None = None
    """With --damage mask: a file, white where images are missing, or 'own', the images' own masks."""
    factor: int = 2
    """With --damage lowres: the images' sides are so many times smaller than the model's."""
    blur: float = 1.0
    """With --damage blur: standard deviation of the Gaussian, in pixels."""
    noise: float = 0.0
    """Standard deviation of noise, in shares of the range from black to white; with any known damage."""
    resample: int = 4
    """How often each part of the way from noise is walked, for mask, lowres and grey: more fits better, and takes longer."""
    jump: int = 1
    """Steps of each such part."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, restores, and says what was written."""
    options: RestoreOptions = parse(RestoreOptions, arguments, "restore", DESCRIPTION)
    _, out, kind = options.needed("restore", "images", "out", "damage")
    if (kind == "mask") != (options.mask is not None):
        raise UserError("--damage mask and --mask belong together: give both, or neither.")
    from sadm.applications.inpainting import masks_from
    from sadm.applications.restoring import Injury, Restorer, write_restored
    from sadm.applications.spaces import Space

    injury = Injury(kind, options.factor, options.blur, options.noise)
    injury.check()
    with ConsoleReporter() as reporter:
        model = options.open_model()
        images = options.open_images(injury.shape(Space(model).picture), reporter)
        if options.mask is not None:
            injury = dataclasses.replace(injury, masks=masks_from(options.mask, images, options.seed))
        restorer = Restorer(model, injury, options.resample, options.jump)
        found = write_restored(restorer, images, out, options.label, options.proposals, options.seed, reporter)
    mean = sum(facts["mean"] for facts in found["images"]) / len(found["images"])
    say(
        f"Images: {len(images)}, proposals for each: {options.proposals}, in {out}. They differ by {mean:.1f} grey levels in "
        "the mean (standard deviation); sheets/ shows each beside its map, where white is what the model invents."
    )
