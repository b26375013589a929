"""``sadm sample``."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sadm.cli.options import parse
from sadm.core.errors import UserError
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say
from sadm.training.config import Grid, SamplingConfig, Solver, Spacing

if TYPE_CHECKING:
    from sadm.training.model_folder import Model
    from sadm.training.sequence import ImageSequence

DESCRIPTION = """Draws images from a trained model. Image i depends on the seed and i alone, whatever the batch.

Each batch is written as soon as it is drawn, and Ctrl-C stops after one. An image that is there already is not drawn again: its
mark names the same model, version, seed, label and settings, and its pixels are unchanged. Others of the same name are written
over; images of other seeds stay.

examples:
  sadm sample runs/digits --count 100
  sadm sample runs/digits --count 20 --label 3 --guidance-scale 2 --out threes
  sadm sample runs/photos --count 20 --size 48x24
  sadm sample models/dit --adapter runs/flowers runs/birds:0.5
"""


@dataclasses.dataclass(frozen=True)
class SampleOptions:
    """Options of ``sadm sample``."""

    model: tyro.conf.Positional[str]
    """A run folder, or the model folder inside."""
    count: int = 64
    """How many images."""
    seed: int = 0
    """Seed of the sequence of images."""
    label: str | None = None
    """Class name or index; None = the training images' frequencies."""
    attribute: tuple[str, ...] = ()
    """NAME=NUMBER, such as severity=0.8, of a model trained with --data.tell attributes; what is not given stays open."""
    size: str | None = None
    """WIDTHxHEIGHT in pixels, of a model trained with --data.fit buckets; None = the training images' shapes at their
    frequencies."""
    adapter: tuple[str, ...] = ()
    """Run or model folders that were fine-tuned from this model, as FOLDER or FOLDER:WEIGHT; several are added up."""
    out: str | None = None
    """Folder for the PNG files; None = 'generated' inside the model's folder."""
    device: str = "auto"
    """'auto' = the accelerator if there is one, else 'cpu'."""
    solver: Annotated[
        Solver | None, tyro.conf.arg(help="How to integrate; 'dpmpp_2m' needs few steps; None = the run's own.")
    ] = None
    steps: Annotated[int | None, tyro.conf.arg(help="Sampling steps; None = the run's own.")] = None
    eta: Annotated[float | None, tyro.conf.arg(help="'ddim': share of fresh noise, 0 to 1; None = the run's own.")] = (
        None
    )
    grid: Annotated[
        Grid | None, tyro.conf.arg(help="EDM's noise levels, or the process's own; None = the run's own.")
    ] = None
    spacing: Annotated[
        Spacing | None, tyro.conf.arg(help="Which timesteps a native grid takes; None = the run's own.")
    ] = None
    shift: Annotated[
        float | None, tyro.conf.arg(help="Factor on a flow's native noise levels; None = the run's own.")
    ] = None
    clip: Annotated[
        bool | None, tyro.conf.arg(help="Bring x0_hat into [-1, 1] at every step; None = the run's own.")
    ] = None
    from_infinity: Annotated[
        bool | None, tyro.conf.arg(help="Start as if from infinite noise (docs/processes.md); None = the run's own.")
    ] = None
    guidance_scale: Annotated[float | None, tyro.conf.arg(help="1 = off; None = the run's own.")] = None
    weak: Annotated[
        str | None, tyro.conf.arg(help="Guide away from this weaker model (autoguidance), not from the null class.")
    ] = None
    guidance_low: Annotated[
        float | None, tyro.conf.arg(help="Guide above this noise level only; None = the run's own.")
    ] = None
    guidance_high: Annotated[
        float | None, tyro.conf.arg(help="Guide up to this noise level only; None = the run's own.")
    ] = None
    policy: str | None = None
    """File of a usage policy; None = policy.yaml in the model's or run's folder, if it is there."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, samples, and writes one PNG an image and one grid."""
    options: SampleOptions = parse(SampleOptions, arguments, "sample", DESCRIPTION)
    if options.count < 1:
        raise UserError(f"--count must be at least 1, got {options.count}.")
    size = None if options.size is None else size_of(options.size)
    from sadm.applications.proposals import read_picture
    from sadm.core.stopping import StopRequest
    from sadm.training.grid import grid_columns, write_grid
    from sadm.training.outputs import generated_images
    from sadm.training.policy import enforce, enforce_count, policy_of

    model = _open_model(options)
    policy, out = policy_of(options.model, options.policy), Path(options.out or Path(options.model) / "generated")
    enforce(policy, options.model, "draw", model.hash)  # before the time is spent
    enforce_count(policy, options.count, out)
    wanted = _sequence(options, model, size)
    wanted.check()
    with (
        ConsoleReporter() as reporter,
        StopRequest() as stop,
        generated_images(out, model, "sadm sample") as outputs,
    ):
        if size is not None and model.spec.shapes and size not in model.spec.shapes:
            reporter.say(f"Training saw no image of {size[1]}x{size[0]} pixels; expect less of these samples.")
        kept = wanted.write(outputs, reporter, stop)
        whole = outputs.mark(options.seed, details={"images": options.count, **wanted.settings})
    images = (read_picture(out / wanted.name(index)) for index in range(options.count))
    write_grid(out / "grid.png", images, grid_columns(0, options.count), whole)
    there = f"; {kept} of them were there already" if kept else ""
    say(f"{options.count} images and grid.png in {out}{there}")


def _open_model(options: SampleOptions) -> Model:
    """The model, with its adapters and its policy."""
    from sadm.training.model_folder import load_model
    from sadm.training.stacking import Adapter, with_adapters

    if options.adapter:
        model = with_adapters(options.model, [Adapter.parse(text) for text in options.adapter], options.device)
    else:
        model = load_model(options.model, options.device)
    return dataclasses.replace(model, policy=options.policy)


def _sequence(options: SampleOptions, model: Model, size: tuple[int, int] | None) -> ImageSequence:
    """What is to be drawn."""
    import torch

    from sadm.applications.images import with_sampling
    from sadm.applications.proposals import class_index
    from sadm.training.model_folder import load_model
    from sadm.training.sequence import ImageSequence
    from sadm.training.telling import parse_attributes

    given = {key: getattr(options, key, None) for key in SamplingConfig.model_fields}
    sampling = with_sampling(model, **given).sampling
    refuse_idle(options, sampling)
    weak = None if options.weak is None else load_model(options.weak, options.device)
    if options.label is None:
        labels = model.training_labels(options.count, options.seed)
    else:
        labels = torch.full((options.count,), class_index(options.label, model.spec.class_names))
    attributes = parse_attributes(options.attribute)
    return ImageSequence(model, options.count, options.seed, labels, sampling, size, attributes, weak)


def refuse_idle(options: SampleOptions, sampling: SamplingConfig) -> None:
    """Refuses options of guidance where there is none.

    Raises:
        UserError: they were given, with a guidance scale of 1.
    """
    given = [
        option
        for option, value in (
            ("--weak", options.weak),
            ("--guidance-low", options.guidance_low),
            ("--guidance-high", options.guidance_high),
        )
        if value is not None
    ]
    if given and sampling.guidance_scale == 1:
        raise UserError(
            f"{' and '.join(given)}: nothing is guided, for the guidance scale is 1. Give another, such as --guidance-scale 2."
        )


def size_of(text: str) -> tuple[int, int]:
    """Height and width from WIDTHxHEIGHT.

    Raises:
        UserError: something else.
    """
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text.strip().lower())
    if match is None:
        raise UserError(f"--size is '{text}'; expected WIDTHxHEIGHT in pixels, such as 48x24.")
    return int(match[2]), int(match[1])
