"""``sadm export``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from sadm.cli.options import parse, refuse_given, required
from sadm.cli.sample import size_of
from sadm.core.errors import UserError
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say
from sadm.training.config import Solver

DESCRIPTION = """Writes the images of any source to a folder, or a trained model in the form of other programs.

Of images: PNG files in class folders, masks, and a table (metadata.csv) of labels, groups, parts of a split, masks and
attributes. The same command goes on after an interruption. A folder of images that a model made is copied with their marks; where
its usage policy asks for a review, approved images alone.

Of a model (--to): an ONNX file of the network, or of a whole sampler with a fixed number of steps, each compared with torch in
onnxruntime before it is there; or a folder that diffusers loads (as `sadm convert --to diffusers`).

examples:
  sadm export surfaces:count=200,size=256 --out my/surfaces
  sadm export surfaces --out my/metal --count 50 --channels 3
  sadm export digits --out my/digits
  sadm export runs/digits --to onnx --out digits.onnx
  sadm export runs/digits --to onnx-sampler --out digits-sampler.onnx --steps 12 --guidance-scale 2
  sadm export runs/parts --to diffusers --out pipeline
"""

_OF_IMAGES = ("count", "resolution", "channels")
_OF_SAMPLERS = ("solver", "steps", "guidance_scale", "eta")
_OF_ONNX = ("size", "tolerance")


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """Options of ``sadm export``."""

    source: tyro.conf.Positional[str]
    """A built-in set such as 'surfaces:count=500,material=metal' or 'digits', or a folder; with --to, a run or model folder."""
    out: str | None = None
    """The folder to write, or the ONNX file (required)."""
    to: Annotated[
        Literal["onnx", "onnx-sampler", "diffusers"] | None,
        tyro.conf.arg(help="What to write of a model; None = the images of a source."),
    ] = None
    count: int | None = None
    """Of images: this many, spread evenly over the source; None = all."""
    resolution: int | None = None
    """Of images: side in pixels (centre crop, antialiased); None = the source's own."""
    channels: Literal[1, 3, 4] | None = None
    """Of images: 1 = grey, 3 = colour, 4 = colour with transparency; None = grey or colour, as the images are."""
    solver: Annotated[Solver | None, tyro.conf.arg(help="Of a sampler: how to integrate; None = the run's own.")] = None
    steps: Annotated[int | None, tyro.conf.arg(help="Of a sampler: its steps; None = the run's own.")] = None
    guidance_scale: Annotated[
        float | None, tyro.conf.arg(help="Of a sampler: fixed in the file; 1 = off; None = the run's own.")
    ] = None
    eta: Annotated[float | None, tyro.conf.arg(help="Of a sampler: 0; what draws afresh in each step has no file.")] = (
        None
    )
    size: str | None = None
    """Of an ONNX file: WIDTHxHEIGHT in pixels, of a model trained with --data.fit buckets; None = the model's own."""
    tolerance: float | None = None
    """Of an ONNX file: largest difference from torch; None = 1e-4 for a network, 1e-3 for a sampler."""
    autoencoder: str | None = None
    """Of a folder of diffusers: folder of an AutoencoderKL; None = the model's own."""
    policy: str | None = None
    """Of a model or of generated images: file of a usage policy; None = policy.yaml in their folder or in that of the run."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, and writes images or a model."""
    options: ExportOptions = parse(ExportOptions, arguments, "export", DESCRIPTION)
    out = required(options.out, "out", "export")
    if options.to is None:
        refuse_given(
            options, (*_OF_SAMPLERS, *_OF_ONNX, "autoencoder"), "are for a model; say what to write of it with --to"
        )
        _export_images(options, out)
        return
    refuse_given(options, _OF_IMAGES, f"are for images, and --to {options.to} writes a model; leave them out")
    if options.to != "onnx-sampler":
        refuse_given(options, _OF_SAMPLERS, "are for --to onnx-sampler alone; leave them out")
    if options.to == "diffusers":
        refuse_given(options, _OF_ONNX, "are for ONNX files alone; leave them out")
        _export_pipeline(options, out)
        return
    refuse_given(
        options, ("autoencoder",), "is for --to diffusers alone: an ONNX file has the model's own; leave it out"
    )
    _export_onnx(options, out)


def _export_images(options: ExportOptions, out: str) -> None:
    from sadm.core.stopping import StopRequest
    from sadm.data import open_source
    from sadm.data.export import export, pick
    from sadm.training.description import holds_model
    from sadm.training.reviews import export_generated, holds_generated

    if holds_model(options.source):
        raise UserError(
            f"{options.source} holds a model, not images. Say what to write of it: --to onnx, onnx-sampler or diffusers. To draw "
            f"images: sadm sample {options.source} --out {out}"
        )
    if holds_generated(options.source):
        refuse_given(options, _OF_IMAGES, "would change images that a model made, whose marks are kept; leave them out")
        done = export_generated(options.source, out, options.policy)
        left = f"; {done.left} that were not approved stay" if done.left else ""
        say(f"{done.written} generated images with their marks in {out}{left}")
        return
    with ConsoleReporter() as reporter:
        opened = open_source(
            options.source,
            resolution=options.resolution,
            channels=options.channels,
            progress=lambda done, total: reporter.update("opening", done, total),
        )
        parts = pick(opened, options.count)
        for skip in parts[0][1].skipped:
            reporter.say(f"Left out: {skip.path}: {skip.reason}")
        with StopRequest() as stop:
            export(parts, out, lambda done, total: reporter.update("writing", done, total), stop=lambda: stop.requested)
    say(f"{sum(len(images) for _, images in parts)} images and metadata.csv in {out}")


def _model(options: ExportOptions) -> Any:
    from sadm.training.description import holds_model
    from sadm.training.model_folder import load_model
    from sadm.training.policy import enforce, policy_of

    if not holds_model(options.source):
        there = Path(options.source).exists()
        raise UserError(
            f"--to {options.to} writes a model, and {options.source} {'holds none' if there else 'is no folder'}; expected a run "
            "or model folder. Without --to, the images of a source are written."
        )
    enforce(policy_of(options.source, options.policy), options.source, "export")
    return load_model(options.source, "cpu")


def _export_pipeline(options: ExportOptions, out: str) -> None:
    from sadm.cli.convert import write_pipeline

    write_pipeline(_model(options), out, options.autoencoder)


def _export_onnx(options: ExportOptions, out: str) -> None:
    from sadm.core.config import build_config
    from sadm.training.config import SamplingConfig
    from sadm.training.deployment import export_onnx

    model, sampling = _model(options), None
    if options.to == "onnx-sampler":
        given = {name: getattr(options, name) for name in _OF_SAMPLERS if getattr(options, name) is not None}
        sampling = build_config(SamplingConfig, model.sampling.model_dump() | given, "sampling")
    size = None if options.size is None else size_of(options.size)
    with ConsoleReporter() as reporter:
        facts = export_onnx(model, out, sampling, size, options.tolerance, reporter)
    inputs = "noise" if sampling is not None else "x_t, sigma"
    label = f", label (0 to {facts['null_label']}; the last = no class)" if facts["null_label"] is not None else ""
    say(f"{out}: {inputs}{label} -> {'images' if sampling is not None else 'x0_hat'}")
    say(f"Largest difference from torch in onnxruntime: {facts['largest_difference']:.2g}. Facts are in {out}.json.")
