"""``sadm encode``."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal

import tyro

from sadm.cli.options import parse, required
from sadm.core.config import build_config
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say
from sadm.training.data_config import OF_PIXELS, DataConfig

DESCRIPTION = """Encodes images into a cache of latents, for sadm train --data.autoencoder … --data.latents ….

All images of the source are encoded (the training part only, where the source comes divided), so any later split finds its own.
Stop it with Ctrl-C; the same command goes on. On a finished cache, it checks every file and makes damaged ones anew.

examples:
  sadm encode path/to/images --autoencoder path/to/vae --out latents --resolution 256 --flip
  sadm train --data path/to/images --data.resolution 256 --data.flip \\
    --data.autoencoder path/to/vae --data.latents latents --out runs/latent
"""


@dataclasses.dataclass(frozen=True)
class EncodeOptions:
    """Options of ``sadm encode``."""

    source: tyro.conf.Positional[str]
    """As --data of sadm train: a built-in set or a folder."""
    autoencoder: str | None = None
    """Folder of an AutoencoderKL, as diffusers saves it (required; needs diffusers)."""
    out: str | None = None
    """Folder of the cache (required)."""
    resolution: int | None = None
    """As --data.resolution of sadm train."""
    channels: Literal[1, 3, 4] | None = None
    """As --data.channels of sadm train."""
    fit: Literal["crop", "pad", "tiles"] = "crop"
    """As --data.fit of sadm train."""
    pad_colour: Literal["edge", "white", "black"] = "edge"
    """As --data.pad-colour of sadm train."""
    overlap: float = 0.0
    """As --data.overlap of sadm train."""
    scale: float = 1.0
    """As --data.scale of sadm train."""
    white_level: int = 65535
    """As --data.white-level of sadm train."""
    max_megapixels: float | None = None
    """As --data.max-megapixels of sadm train."""
    flip: bool = False
    """Encode the mirror images, too, for --data.flip; takes twice the time and space."""
    strict: bool = False
    """Refuse a folder with unreadable files instead of skipping and listing them."""
    dtype: Literal["float16", "float32"] = "float16"
    """Numbers in the cache, as --data.latent-dtype of sadm train; float32 takes twice the space."""
    workers: int | None = None
    """Processes, each with an autoencoder of its own; changes no bit. None = one for each core."""
    device: str = "auto"
    """'auto' = the accelerator if there is one, else 'cpu'."""
    json: bool = False
    """Print JSON."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, encodes, and says what the cache holds."""
    options: EncodeOptions = parse(EncodeOptions, arguments, "encode", DESCRIPTION)
    out = required(options.out, "out", "encode")
    autoencoder = required(options.autoencoder, "autoencoder", "encode")
    from sadm.data import Split, open_source
    from sadm.training.encoding import encode_images
    from sadm.training.moments import Layout
    from sadm.training.run import fit_for
    from sadm.training.said import say_skipped

    names = ("source", "strict", "flip", "max_megapixels", *OF_PIXELS)
    given = {name: value for name, value in vars(options).items() if name in names}
    data = build_config(DataConfig, given, "options")
    with ConsoleReporter() as reporter:
        opened = open_source(
            data.source,
            fit=fit_for(data),
            strict=data.strict,
            progress=lambda done, total: reporter.update("images", done, total),
        )
        images = opened.train if isinstance(opened, Split) else opened
        say_skipped(images, reporter)
        layout = Layout(data.flip, options.dtype)
        encoded = encode_images(
            images, out, autoencoder, layout, options.workers, options.device, reporter, data.transform
        )
    facts = summary(encoded)
    say(json.dumps(facts, indent=1, ensure_ascii=False) if options.json else sentence(facts))


def summary(encoded: Any) -> dict[str, Any]:
    """What `Encoded` tells, for JSON."""
    manifest = encoded.manifest
    size = sum(shard.bytes for shard in manifest.shards)
    return {
        "folder": str(encoded.folder),
        "images": manifest.count,
        "encoded": encoded.images,
        "shards": manifest.shard_count,
        "bytes": size,
        "bytes_per_image": round(size / manifest.count, 1),
        "latent_shape": list(manifest.tensors["mean"].shape),
        "seconds": round(encoded.seconds, 2),
        "images_per_second": round(encoded.images / encoded.seconds, 2),
        "workers": encoded.workers,
        "about": manifest.about,
    }


def sentence(facts: dict[str, Any]) -> str:
    """The same for people."""
    shape = "x".join(map(str, facts["latent_shape"]))
    done = (
        f"{facts['encoded']} encoded now, {facts['images_per_second']:.3g} images/s"
        if facts["encoded"]
        else "all intact"
    )
    return (
        f"{facts['images']} images as latents of {shape} in {facts['folder']}: {facts['shards']} shards, "
        f"{facts['bytes'] / 2**20:.1f} MiB ({done})."
    )
