"""Encoding images into a cache of latents: shard by shard, in one process or in several, to the same bits."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path

import torch

from sadm import __version__
from sadm.core.devices import one_thread, resolve_device
from sadm.core.errors import InterruptedRun, UserError
from sadm.core.files import locked, make_folder
from sadm.core.progress import Reporter, Silent
from sadm.core.stopping import StopRequest
from sadm.data import ImageSet
from sadm.data.cache import MANIFEST, Fact, Manifest, StoreWriter
from sadm.models import LatentCodec, autoencoder_hash
from sadm.training.encoding_pool import Task, encode_in_processes
from sadm.training.latents import KIND
from sadm.training.moments import Layout, encode_shard

PIXELS_PER_SHARD = 2**20  # 16 images of 256x256: what an interruption may cost, or how long it is waited for
MOST_PER_SHARD = 1024
MOST_SHARDS = 1000  # of very many images, so that the manifest stays short


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A complete cache, and what this call did for it.

    Attributes:
        folder: of the cache.
        manifest: what it holds.
        images: encoded in this call.
        seconds: taken by this call.
        workers: processes that encoded.
    """

    folder: Path
    manifest: Manifest
    images: int
    seconds: float
    workers: int


def encode_images(
    images: ImageSet,
    folder: str | Path,
    autoencoder: str,
    layout: Layout,
    workers: int | None = None,
    device: str = "cpu",
    reporter: Reporter | None = None,
    transform: Mapping[str, Fact] | None = None,
) -> Encoded:
    """Encodes images into the cache `folder`, or what is missing or damaged of them there.

    Every shard is made of the same batches on one thread, so that on the CPU the number of processes changes no bit.

    Args:
        images: what to encode.
        folder: of the cache; created, or holding latents of the same images by the same autoencoder.
        autoencoder: folder of an `AutoencoderKL`.
        layout: what to keep of each image.
        workers: processes, each with an autoencoder of its own; None = one for each core where that pays, one on an accelerator.
        device: where to encode.
        reporter: where progress is shown; None = nowhere.
        transform: how images were brought to one shape, for the manifest (see `DataConfig.transform`).

    Raises:
        UserError: images that the autoencoder can't take, another cache in the folder, a full or read-only disk.
        InterruptedRun: stopped by Ctrl-C or SIGTERM; finished shards are kept.
    """
    start, where, target, shown = time.monotonic(), resolve_device(device), Path(folder), reporter or Silent()
    limit = _most_processes(workers, where)
    codec = codec_for(images, autoencoder)
    codec.autoencoder.to(where)
    plan = plan_cache(images, codec, autoencoder, layout, transform)
    with locked(make_folder(target), "encoding images"), StopRequest() as stop:
        if (target / MANIFEST).exists():
            shown.say(f"Checking what is in {target} already.")
        writer = StoreWriter(target, plan, shown.say)
        missing = writer.missing
        todo = sum(len(plan.rows(number)) for number in missing)
        progress = _Progress(shown, plan.count - todo, plan.count)
        processes = min(limit or _enough_processes(todo, images.shape), max(1, len(missing)))
        orders = _orders(images, plan, missing, stop)
        if processes > 1:
            task = Task(autoencoder, images.shape, layout)
            shards = encode_in_processes(task, orders, processes, progress.add)
        else:
            shards = _encode_here(codec, orders, layout, where, progress.add)
        with contextlib.closing(shards):
            for number, content in shards:
                writer.add(number, content)
    left = len(writer.missing)
    if left:
        raise InterruptedRun(
            f"Stopped; {plan.shard_count - left} of {plan.shard_count} shards are in {target}. To go on, run the same command."
        )
    return Encoded(target, writer.manifest, todo, time.monotonic() - start, processes)


def codec_for(images: ImageSet, autoencoder: str) -> LatentCodec:
    """The autoencoder for these images.

    Raises:
        UserError: it can't be loaded, or takes other images.
    """
    codec = LatentCodec.from_folder(autoencoder)
    expected = int(codec.autoencoder.config.in_channels)
    if images.shape[0] != expected:
        option = f" Give --data.channels {expected}." if expected in (1, 3, 4) else ""
        raise UserError(
            f"the autoencoder in {autoencoder} takes images of {expected} channels; those of {images.source} have "
            f"{images.shape[0]}.{option}"
        )
    codec.latent_shape(images.shape)
    return codec


def plan_cache(
    images: ImageSet,
    codec: LatentCodec,
    autoencoder: str,
    layout: Layout,
    transform: Mapping[str, Fact] | None = None,
) -> Manifest:
    """The manifest, still without shards, of a cache of these images."""
    keys = images.keys.numpy().astype("<i8").tobytes()
    return Manifest(
        kind=KIND,
        about={**facts_of(images, autoencoder, layout), "images": hashlib.sha256(keys).hexdigest()},
        made={"source": images.source, "transform": dict(transform or {}), "sadm": __version__},
        count=len(images),
        per_shard=shard_size(len(images), images.shape),
        tensors=layout.tensors(codec.latent_shape(images.shape)),
    )


def shard_size(count: int, shape: tuple[int, int, int]) -> int:
    """Images in each shard of a cache of `count` images (C, H, W)."""
    few = min(MOST_PER_SHARD, PIXELS_PER_SHARD // (shape[1] * shape[2]))
    return max(1, few, math.ceil(count / MOST_SHARDS))


def facts_of(images: ImageSet, autoencoder: str, layout: Layout) -> dict[str, Fact]:
    """What a cache of latents says of itself (see `Manifest.about`), but for which images it holds."""
    channels, height, width = images.shape
    return {
        "autoencoder": autoencoder_hash(autoencoder),
        "resolution": f"{width}x{height}",
        "channels": channels,
        "flip": layout.flip,
        "dtype": layout.dtype,
    }


class _Progress:
    """Images encoded so far, told to a reporter."""

    def __init__(self, reporter: Reporter, done: int, total: int) -> None:
        self.reporter, self.done, self.total = reporter, done, total

    def add(self, images: int) -> None:
        self.done += images
        self.reporter.update("encoding", self.done, self.total)


def _orders(
    images: ImageSet, plan: Manifest, missing: list[int], stop: StopRequest
) -> Iterator[tuple[int, torch.Tensor]]:
    """Number and images of each missing shard, until a stop is requested."""
    for number in missing:
        if stop.requested:
            return
        rows = plan.rows(number)
        yield number, images.images[rows.start : rows.stop]


def _encode_here(
    codec: LatentCodec,
    orders: Iterator[tuple[int, torch.Tensor]],
    layout: Layout,
    device: torch.device,
    progress: Callable[[int], None],
) -> Generator[tuple[int, bytes], None, None]:
    for number, images in orders:
        with one_thread():  # as in a process of several
            content = encode_shard(codec, images, layout, device, progress)
        yield number, content


def _most_processes(workers: int | None, device: torch.device) -> int | None:
    """How many processes may encode; None = as many as are good."""
    if device.type != "cpu":
        if workers not in (None, 1):
            raise UserError(
                f"--workers {workers}: several processes encode on the CPU only; {device.type} takes one. Leave it out."
            )
        return 1
    if workers is not None and workers < 1:
        raise UserError(f"--workers is {workers}; expected at least 1.")
    return workers


def _enough_processes(images: int, shape: tuple[int, int, int]) -> int:
    """One for each core, but none that would take longer to start than to do its part."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, images * shape[1] * shape[2] // PIXELS_PER_SHARD))
