"""Pairs of image and mask as a folder: gone on with where it was interrupted, with a mark in every image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sadm.applications.defects.layouts import LAYOUTS, Contents, box_of
from sadm.applications.defects.shapes import Place
from sadm.applications.defects.synthesis import Job, Pair, Request
from sadm.core.errors import InterruptedRun, UserError
from sadm.core.grids import write_png
from sadm.core.progress import Reporter, Silent
from sadm.core.stopping import StopRequest
from sadm.data import ImageSet
from sadm.data.imageset import sha256_of
from sadm.training.model_folder import Model
from sadm.training.outputs import GeneratedImages, generated_images


@dataclasses.dataclass(frozen=True)
class Written:
    """What is in the folder.

    Attributes:
        pairs: of image and mask, by class of defect.
        faint: pairs that differ from their good image by less than was asked for.
        good: good images.
    """

    pairs: dict[str, int]
    faint: int
    good: int


def write_defects(
    model: Model,
    images: ImageSet,
    requests: Sequence[Request],
    out: str | Path,
    good: str = "good",
    layout: str = "classes",
    with_good: int = 0,
    reporter: Reporter | None = None,
) -> Written:
    """Draws pairs and writes them; the same call goes on after an interruption.

    Args:
        model: see `synthesise`.
        images: see `synthesise`.
        requests: one for each class of defect.
        out: the folder.
        good: name of the class without defects.
        layout: a name in `LAYOUTS`.
        with_good: how many real good images are written beside them, unchanged.
        reporter: told about progress.

    Raises:
        UserError: as of `synthesise`; the folder holds something else; there are not so many good images.
        InterruptedRun: stopped between batches.
    """
    shown = reporter or Silent()
    if layout not in LAYOUTS:
        raise UserError(f"--layout is '{layout}'; expected one of {', '.join(LAYOUTS)}.")
    defects = [name for name in images.class_names if name != good]
    places = LAYOUTS[layout](good, defects)
    jobs = [Job(model, images, request, good) for request in requests]  # before anything is written
    chosen = _good_images(images, good, with_good)
    about = {
        "data": images.fingerprint(),
        "sampling": model.sampling.model_dump(),
        "layout": layout,
        "good": good,
        "with_good": with_good,
        "requests": [_as_dict(request) for request in requests],
    }
    faint = 0
    with StopRequest() as stop, generated_images(out, model, "sadm defects", about=about) as outputs:
        for job in jobs:
            request = job.request
            names = [places.image(request.defect, index) for index in range(request.count)]

            def show(done: int, total: int, defect: str = request.defect) -> None:
                shown.update(f"drawing '{defect}'", done, total)

            for pair in job.draw(lambda i, names=names: outputs.has(names[i]), show):  # type: ignore[misc]
                mask = places.mask(request.defect, pair.index)
                write_png(outputs.folder / mask, pair.mask.permute(1, 2, 0).numpy())
                outputs.add(
                    names[pair.index],
                    pair.image,
                    seed=pair.seed,
                    label=pair.defect,
                    edited=True,
                    details=facts_of(pair, mask),
                )
                if stop.requested:
                    raise InterruptedRun(f"Stopped after {len(outputs)} images. To go on, run the same command.")
            faint += sum(outputs.record(name)["details"]["change"] < request.least_change for name in names)
        written = _write_good(outputs, places, images, chosen)
        groups = dict(zip(images.names, images.groups or images.names, strict=True))
        wanted = [(request.defect, index) for request in requests for index in range(request.count)]
        records = [outputs.record(places.image(*key)) for key in wanted]
        places.finish(outputs.folder, Contents(records, defects, written, groups))
    return Written({request.defect: request.count for request in requests}, faint, len(written))


def facts_of(pair: Pair, mask: str) -> dict[str, Any]:
    """What is written about a pair, for JSON; `mask` is the path of its mask."""
    return {
        "index": pair.index,
        "severity": None if math.isnan(pair.severity) else round(pair.severity, 6),
        "good": pair.good,
        "shape_of": pair.shape_of,
        "change": round(pair.change, 3),
        "mask": mask,
        "box": box_of(pair.mask[0].numpy()),
    }


def _as_dict(request: Request) -> dict[str, Any]:
    values = {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
    return {**values, "place": _place_dict(request.place)}


def _place_dict(place: Place) -> dict[str, Any]:
    region = None if place.region is None else sha256_of(place.region)
    return {"kind": place.kind, "x": place.x, "y": place.y, "region": region}


def _good_images(images: ImageSet, good: str, count: int) -> list[int]:
    """The first `count` good images."""
    if count == 0:
        return []
    if images.labels is None or good not in images.class_names:
        raise UserError(
            f"'{good}' is no class of {images.source}; there are {', '.join(images.class_names) or 'none'}."
        )
    there = (images.labels == images.class_names.index(good)).nonzero().flatten().tolist()
    if not 0 <= count <= len(there):
        raise UserError(f"--with-good is {count}; there are {len(there)} good training images.")
    return there[:count]


def _write_good(outputs: GeneratedImages, places: Any, images: ImageSet, chosen: Sequence[int]) -> dict[str, str]:
    """Writes real good images, which carry no mark; returns their names in the source, by their paths."""
    written = {}
    for number, row in enumerate(chosen):
        place = places.good(number)
        written[place] = images.names[row]
        path = outputs.folder / place
        if not path.exists():
            write_png(path, images.images[row].permute(1, 2, 0).numpy())
    return written
