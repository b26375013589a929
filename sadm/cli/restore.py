"""``sadm restore``."""

from __future__ import annotations

import dataclasses
from typing import Literal

import tyro

from sadm.cli.options import parse, required
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
class RestoreOptions:
    """Options of ``sadm restore``."""

    model: tyro.conf.Positional[str]
    """A run folder, or the model folder inside; a model of sound images."""
    images: str | None = None
    """The damaged images: anything that `sadm train --data` takes (required)."""
    out: str | None = None
    """The folder to write (required)."""
    damage: Literal["mask", "lowres", "blur", "noise", "grey", "unknown"] | None = None
    """What has happened (required); 'unknown' needs a model that was trained with --data.tell damage."""
    mask: str | None = None
    """With --damage mask: a file, white where images are missing, or 'own', the images' own masks."""
    factor: int = 2
    """With --damage lowres: the images' sides are so many times smaller than the model's."""
    blur: float = 1.0
    """With --damage blur: standard deviation of the Gaussian, in pixels."""
    noise: float = 0.0
    """Standard deviation of noise, in shares of the range from black to white; with any known damage."""
    proposals: int = 4
    """Proposals for each image, at least 2."""
    limit: int | None = None
    """The first so many images; None = all."""
    label: str | None = None
    """Class name or index; None = each image's own, where it is known."""
    guidance_scale: float | None = None
    """Guide towards the class; 1 = off; None = the run's own."""
    resample: int = 4
    """How often each part of the way from noise is walked, for all damage but blur: more fits better, and takes longer."""
    jump: int = 1
    """Steps of each such part."""
    steps: int | None = None
    """Sampling steps; None = the run's own."""
    resize: bool = False
    """Crop, resize and convert images that are not of the size and channels that the damage leaves of the model's."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """'auto' = the accelerator if there is one, else 'cpu'."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, restores, and says what was written."""
    options: RestoreOptions = parse(RestoreOptions, arguments, "restore", DESCRIPTION)
    source, out, kind = (required(getattr(options, name), name, "restore") for name in ("images", "out", "damage"))
    if (kind == "mask") != (options.mask is not None):
        raise UserError("--damage mask and --mask belong together: give both, or neither.")
    from sadm.applications.images import with_sampling
    from sadm.applications.inpainting import masks_from
    from sadm.applications.proposals import images_to_edit
    from sadm.applications.restoring import Injury, Restorer, write_restored
    from sadm.applications.spaces import Space
    from sadm.training.model_folder import load_model

    injury = Injury(kind, options.factor, options.blur, options.noise)
    injury.check()
    with ConsoleReporter() as reporter:
        model = load_model(options.model, options.device)
        model = with_sampling(model, steps=options.steps, guidance_scale=options.guidance_scale)
        shape = injury.shape(Space(model).picture)
        images = images_to_edit(source, shape, options.resize, options.limit, reporter)
        if options.mask is not None:
            injury = dataclasses.replace(injury, masks=masks_from(options.mask, images, options.seed))
        restorer = Restorer(model, injury, options.resample, options.jump)
        found = write_restored(restorer, images, out, options.label, options.proposals, options.seed, reporter)
    mean = sum(facts["mean"] for facts in found["images"]) / len(found["images"])
    say(
        f"{options.proposals} proposals for each of {len(images)} images in {out}. They differ by {mean:.1f} grey levels in the "
        "mean (standard deviation); sheets/ shows each beside its map, where white is what the model invents."
    )
