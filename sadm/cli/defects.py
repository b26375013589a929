"""``sadm defects``."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Literal

import tyro

from sadm.cli.options import parse, required
from sadm.core.errors import UserError
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say

DESCRIPTION = """Draws defects on real good images: pairs of image and mask, to train an inspection on.

Of the run's own training images, good ones are drawn on, and real defects give the shapes. Outside of the defect an image stays
as it was to the bit. A model that was trained with --data.tell attributes masks obeys mask and severity best. The same command
goes on after an interruption. docs/defects.md

examples:
  sadm defects runs/parts --out my/defects --count 200
  sadm defects runs/parts --out my/scratches --defect scratch --severity 0.5:1 --place 0.5,0.25
  sadm defects runs/parts --out my/defects --count 200 --measure
  sadm defects runs/parts --out my/category --layout mvtec --with-good 100
  sadm defects runs/parts --out my/yolo --layout yolo --region weld.png
"""


@dataclasses.dataclass(frozen=True)
class DefectsOptions:
    """Options of ``sadm defects``."""

    run: tyro.conf.Positional[str]
    """A run folder: its model, and the images that it was trained on."""
    out: str | None = None
    """The folder to write (required)."""
    data: str | None = None
    """Other images of the same kind, with classes and masks, read and divided as the run's own were: what it would hold out is
    left out; None = the run's training images.
    """
    defect: tuple[str, ...] = ()
    """Classes of defects; none = all classes but the good one."""
    count: int = 100
    """Pairs of each."""
    severity: str | None = None
    """LOW:HIGH, in the units of the images' table; None = as the real defect whose shape is taken."""
    place: str = "anywhere"
    """'anywhere' (turned and mirrored), 'as-found' (where and as the real one was), or X,Y in shares of width and height."""
    region: str | None = None
    """A file, white where the middle of a defect may be; for --place anywhere."""
    margin: int = 1
    """Pixels around the mask that are drawn anew with it."""
    resample: int = 2
    """How often each part of the way from noise is walked: more fits the surroundings better, and takes so many times as long."""
    least_change: float = 4.0
    """Grey levels by which a defect differs at least from the good image, in the mean over its mask."""
    good: str = "good"
    """Class of the images without defects."""
    attribute: str = "severity"
    """Column of the images' table that means severity."""
    layout: Literal["classes", "mvtec", "coco", "yolo"] = "classes"
    """How the folder is laid out: 'classes' is what `sadm train --data` reads."""
    with_good: int = 0
    """So many real good images are written beside them, unchanged."""
    steps: int | None = None
    """Sampling steps; None = the run's own."""
    guidance_scale: float | None = None
    """Guide towards the class of the defect; 1 = off; None = the run's own."""
    measure: bool = False
    """Train small detectors with and without them, ask them about the run's held-out images, and write detection.json."""
    detectors: int = 5
    """With --measure: detectors of each kind."""
    policy: str | None = None
    """File of a usage policy; None = policy.yaml in the model's or run's folder, if it is there."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """'auto' = the accelerator if there is one, else 'cpu'."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, draws, and says what was written."""
    options: DefectsOptions = parse(DefectsOptions, arguments, "defects", DESCRIPTION)
    out, severity = required(options.out, "out", "defects"), severity_of(options.severity)
    from sadm.applications.defects import Place, Request
    from sadm.applications.defects.folder import write_defects
    from sadm.applications.defects.gain import measure_gain
    from sadm.applications.defects.shapes import check_region
    from sadm.applications.images import images_for, open_model
    from sadm.core.devices import resolve_device
    from sadm.core.files import write_json
    from sadm.data.masks import read_mask
    from sadm.training.trained import split_of

    region = None if options.region is None else read_mask(options.region)
    place = Place.parse(options.place, region)
    with ConsoleReporter() as reporter:
        model = open_model(
            options.run, options.device, options.policy, steps=options.steps, guidance_scale=options.guidance_scale
        )
        images = images_for(options.run, model, options.data, reporter)
        if region is not None:
            check_region(region, (images.shape[1], images.shape[2]))
        named = options.defect or tuple(name for name in images.class_names if name != options.good)
        requests = [
            Request(
                name,
                options.count,
                severity,
                place,
                options.margin,
                options.resample,
                options.least_change,
                options.attribute,
                options.seed,
            )
            for name in dict.fromkeys(named)
        ]
        split = split_of(options.run, model, reporter) if options.measure else None  # before the long work
        written = write_defects(model, images, requests, out, options.good, options.layout, options.with_good, reporter)
        measured = None
        if split is not None:
            where = resolve_device(options.device)
            measured = measure_gain(out, split, options.detectors, device=where, reporter=reporter)
            write_json(Path(out) / "detection.json", measured)
    counts = ", ".join(f"{count} of '{name}'" for name, count in written.pairs.items())
    say(f"{counts} in {out}; {written.good} good images beside them.")
    if written.faint:
        say(
            f"{written.faint} of them change less than {options.least_change:g} grey levels: see 'change' in records.jsonl."
        )
    if measured is not None:
        say(measured["sentence"])


def severity_of(text: str | None) -> tuple[float, float] | None:
    """Bounds from LOW:HIGH, or from one number.

    Raises:
        UserError: something else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d*\.?\d+)(?::(\d*\.?\d+))?", text.strip())
    if match is None:
        raise UserError(f"--severity is '{text}'; expected LOW:HIGH, such as 0.3:0.9, or one number.")
    return float(match[1]), float(match[2] or match[1])
