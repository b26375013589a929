"""``sadm convert``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

import tyro

from sadm.cli.options import parse, refuse_given, required
from sadm.core.terminal import say

if TYPE_CHECKING:
    from sadm.training.model_folder import Model

DESCRIPTION = """Brings published weights into a model folder, or a model into a folder that diffusers loads. No file runs code.

examples:
  sadm convert DiT-XL-2-256x256.pt --family dit --autoencoder sd-vae-ft-ema --out models/dit
  sadm convert SiT-XL-2-256.pt --family sit --autoencoder sd-vae-ft-ema --out models/sit
  sadm convert path/to/DiTPipeline --out models/dit
  sadm convert path/to/ddpm-cifar10-32 --out models/ddpm   (a DDPMPipeline, or another of a UNet2DModel; needs diffusers)
  sadm convert runs/mine --to merged --out models/mine   (what a fine-tuning learned, with the model that it belongs to)
  sadm convert models/mine --to diffusers --out path/to/pipeline   (trained with --process.kind vp --net.frequency-shift 1)
"""


@dataclasses.dataclass(frozen=True)
class ConvertOptions:
    """Options of ``sadm convert``."""

    source: tyro.conf.Positional[str]
    """A checkpoint of DiT or SiT, a folder of diffusers, or (with --to diffusers or merged) a run or model folder."""
    out: str | None = None
    """The folder to write (required)."""
    to: Literal["sadm", "diffusers", "merged"] = "sadm"
    """What to write: a model folder, for `sadm sample`; a folder of diffusers, a DiTPipeline or a DDIMPipeline of a UNet; or, of
    a fine-tuned model, one that needs no other."""
    family: Literal["dit", "sit"] | None = None
    """Of a checkpoint, whose tensors do not tell; a folder of diffusers says it itself."""
    autoencoder: str | None = None
    """Folder of an AutoencoderKL (needs diffusers); None = the one that the source has."""
    null_is_last: bool = False
    """Of a UNet with classes: the last row of its class table means "no class"; otherwise a null class is added."""
    policy: str | None = None
    """With --to: file of a usage policy; None = policy.yaml in the model's or run's folder, if it is there."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, converts, and prints what became of the tensors."""
    options: ConvertOptions = parse(ConvertOptions, arguments, "convert", DESCRIPTION)
    out = required(options.out, "out", "convert")
    if options.to == "sadm":
        refuse_given(
            options, ("policy",), "is of a model of ours that goes out (--to diffusers or merged); leave it out"
        )
    else:
        refuse_given(options, ("family", "null_is_last"), "tells of published weights that come in; leave it out")
    if options.to == "merged":
        refuse_given(options, ("autoencoder",), "is kept as the model has it; leave it out")
    from sadm.training.model_folder import load_model
    from sadm.training.policy import enforce, policy_of
    from sadm.training.published import import_model
    from sadm.training.stacking import save_merged

    policy = None if options.to == "sadm" else policy_of(options.source, options.policy)
    enforce(policy, options.source, "export")
    if options.to == "merged":
        save_merged(load_model(options.source), out)
        if policy is not None:
            policy.copy_to(out)
        say(f"Draw images with: sadm sample {out}")
    elif options.to == "diffusers":
        write_pipeline(load_model(options.source), out, options.autoencoder)
    else:
        say(import_model(options.source, out, options.family, options.autoencoder, options.null_is_last or None))
        say(f"Draw images with: sadm sample {out}")


def write_pipeline(model: Model, out: str, autoencoder: str | None) -> None:
    """Writes a model as a folder of diffusers, and says how to load it."""
    from sadm.training.published import export_pipeline

    left_out, call = export_pipeline(model, out, autoencoder)
    for entry in left_out:
        say(f"left out {entry}")
    say(f"Load it with: {call}")
