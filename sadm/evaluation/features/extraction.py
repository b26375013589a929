"""Features of many images: batch by batch, kept on disk by content, going on where a stop left it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from sadm.core.errors import InterruptedRun
from sadm.core.files import locked, make_folder
from sadm.core.progress import Reporter, Silent
from sadm.core.stopping import StopRequest
from sadm.data import ImageSet
from sadm.data.cache import Manifest, StoreWriter, TensorKind, TensorStore
from sadm.evaluation.features.extractor import Extractor

KIND = "features"
"""The kind of cache (see `Manifest.kind`)."""
PER_SHARD = 1024


def extract(
    extractor: Extractor, images: ImageSet, cache: str | Path | None = None, reporter: Reporter | None = None
) -> dict[str, np.ndarray]:
    """What a network gives for images.

    The cache is keyed by the network's weights and the images' pixels, so names and places may change and nothing is computed
    twice; what was computed before a stop is kept.

    Args:
        extractor: the feature space.
        images: at least one.
        cache: a folder for all feature spaces and sets of images, or None to keep nothing.
        reporter: where progress is shown; None = nowhere.

    Returns:
        By name (see `extractor.OUTPUTS`), float32 [N, ...].

    Raises:
        UserError: images that the network can't take, a full disk.
        InterruptedRun: stopped by Ctrl-C or SIGTERM; the same call goes on.
    """
    shown = reporter or Silent()
    if cache is None:
        return {name: part.numpy() for name, part in _of_rows(extractor, images, range(len(images))).items()}
    first = extractor(images.images[:1])  # for the shapes
    plan = Manifest(
        kind=KIND,
        about={"extractor": extractor.identity, "images": content_of(images)},
        made={"extractor": extractor.title, "source": images.source},
        count=len(images),
        per_shard=PER_SHARD,
        tensors={name: TensorKind(dtype="float32", shape=tuple(part.shape[1:])) for name, part in first.items()},
    )
    folder = Path(cache) / hashlib.sha256(repr(sorted(plan.about.items())).encode()).hexdigest()[:24]
    with locked(make_folder(folder), "computing features"), StopRequest() as stop:
        writer = StoreWriter(folder, plan, shown.say)
        for number in writer.missing:
            rows = plan.rows(number)
            if stop.requested:
                raise InterruptedRun(
                    f"Stopped after {rows.start} of {len(images)} images. To go on, run the same command."
                )
            writer.add(
                number, save({name: part.contiguous() for name, part in _of_rows(extractor, images, rows).items()})
            )
            shown.update(f"features: {extractor.title}", rows.stop, len(images))
    store = TensorStore(folder, KIND)
    return {name: store.column(name).numpy() for name in plan.tensors}


def content_of(images: ImageSet) -> str:
    """Hexadecimal SHA-256 over the pixels of all images, in order."""
    shape = repr(tuple(images.images.shape)).encode()
    return hashlib.sha256(shape + images.keys.numpy().astype("<i8").tobytes()).hexdigest()


def _of_rows(extractor: Extractor, images: ImageSet, rows: range) -> dict[str, torch.Tensor]:
    parts = [extractor(batch) for batch in images.images[rows.start : rows.stop].split(extractor.batch)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
