"""``sadm sample``."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Any

import tyro

from sadm.cli.options import parse
from sadm.core.errors import UserError
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say
from sadm.training.config import Grid, SamplingConfig, Solver, Spacing

DESCRIPTION = """Draws images from a trained model. Image i depends on the seed and i alone, whatever the batch.

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
    import torch

    from sadm.applications.images import with_sampling
    from sadm.applications.proposals import class_index
    from sadm.training.grid import grid_columns, write_grid
    from sadm.training.model_folder import load_model
    from sadm.training.outputs import generated_images
    from sadm.training.policy import enforce, enforce_count, policy_of
    from sadm.training.stacking import Adapter, with_adapters
    from sadm.training.telling import condition, parse_attributes

    if options.adapter:
        model = with_adapters(options.model, [Adapter.parse(text) for text in options.adapter], options.device)
    else:
        model = load_model(options.model, options.device)
    model = dataclasses.replace(model, policy=options.policy)
    policy, out = policy_of(options.model, options.policy), Path(options.out or Path(options.model) / "generated")
    enforce(policy, options.model, "draw", model.hash)  # before the time is spent
    enforce_count(policy, options.count, out)
    sampling = with_sampling(
        model, **{key: getattr(options, key, None) for key in SamplingConfig.model_fields}
    ).sampling
    refuse_idle(options, sampling)
    weak = None if options.weak is None else load_model(options.weak, options.device)
    if options.label is None:
        labels = model.training_labels(options.count, options.seed)
    else:
        labels = torch.full((options.count,), class_index(options.label, model.spec.class_names))
    with ConsoleReporter() as reporter:

        def show(done: int, total: int) -> None:
            reporter.update("sampling", done, total)

        how: dict[str, Any] = {"sampling": sampling, "progress": show, "weak": weak}
        given = parse_attributes(options.attribute)
        if given:
            how["told"] = condition(model.spec, options.count, given)
        if size is None:
            images = model.sample_shapes(options.count, options.seed, labels, **how)
        else:
            if model.spec.shapes and size not in model.spec.shapes:
                reporter.say(f"Training saw no image of {size[1]}x{size[0]} pixels; expect less of these samples.")
            images = list(model.sample(options.count, options.seed, labels, size=size, **how))
    named = (*model.spec.class_names, None)  # the null class has no name
    settings = sampling.model_dump(mode="json", exclude={"batch"})
    if given:
        settings["attributes"] = dict(given)
    if weak is not None:
        settings["weak"] = weak.hash
    with generated_images(out, model, "sadm sample") as outputs:
        for index, image in enumerate(images):
            label = None if labels is None else named[int(labels[index])]
            name = f"{options.seed:06d}-{index:06d}.png"
            outputs.add(name, image, seed=options.seed, label=label, details={"index": index, **settings})
        whole = outputs.mark(options.seed, details={"images": options.count, **settings})
    write_grid(out / "grid.png", images, grid_columns(0, options.count), whole)
    say(f"{options.count} images and grid.png in {out}")


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
