"""Images drawn part by part into a folder, so that a stop loses one part at most."""

from __future__ import annotations

from pathlib import Path

import torch

from sadm.core.progress import Reporter
from sadm.core.stopping import StopRequest
from sadm.core.store import Store
from sadm.data import ImageSet, to_uint8
from sadm.training.drawing import draw_in_parts
from sadm.training.model_folder import Model, model_hash


def drawn_images(run: Path, model: Model, folder: Path, count: int, seed: int, reporter: Reporter) -> ImageSet:
    """The images that ``sadm sample RUN --count COUNT --seed SEED`` draws, labels at the training frequencies.

    What an earlier call with the same weights, count and seed has drawn is read.

    Args:
        run: the model's folder, or that of its run.
        model: loaded from there.
        folder: of the parts.
        count: how many.
        seed: of the sequence.
        reporter: told about the progress.

    Raises:
        UserError: the model draws NaN, or the folder holds something else or can't be written.
        InterruptedRun: stopped by Ctrl-C or SIGTERM; the parts are kept.
    """
    labels = model.training_labels(count, seed)
    about = {
        "weights": model_hash(run),
        "count": count,
        "seed": seed,
        "sampling": model.sampling.model_dump(),
    }
    store = Store(folder, about)
    # Images of several shapes are arranged over the whole count, so they are one part.
    size = count if model.spec.shapes else model.sampling.batch

    def draw(first: int, end: int) -> torch.Tensor:
        return _part(model, first, end, seed, labels)

    with StopRequest() as stop:
        images = draw_in_parts(store, count, size, draw, stop, reporter)
    names = tuple(str(index) for index in range(count))
    return ImageSet(images, labels, model.spec.class_names, names, f"images drawn from {run}")


def _part(model: Model, start: int, stop: int, seed: int, labels: torch.Tensor | None) -> torch.Tensor:
    own = None if labels is None else labels[start:stop]
    if model.spec.shapes:
        return to_uint8(model.sample_for_judging(stop, seed, own))
    return to_uint8(model.sample(stop - start, seed, own, first=start))
