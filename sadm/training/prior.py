"""Prior preservation: images of the model that a training starts from go on being learned (Ruiz et al., arXiv 2208.12242)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from sadm.core.conditions import Cond
from sadm.core.devices import spent_seconds
from sadm.core.errors import UserError
from sadm.core.progress import Reporter
from sadm.core.seeds import derive_seed
from sadm.core.stopping import StopRequest
from sadm.core.store import Store
from sadm.data import to_floats, to_uint8
from sadm.data.batches import Batch, share_of
from sadm.data.order import uniform_order
from sadm.training.config import TrainConfig
from sadm.training.drawing import draw_in_parts
from sadm.training.fitting import origins
from sadm.training.model_folder import Model, load_model, model_hash
from sadm.training.spec import ModelSpec

PART = 64  # images drawn and stored at a time


@dataclasses.dataclass(frozen=True, eq=False)
class Prior:
    """Images drawn from the model that a training starts from.

    Attributes:
        x0: bytes [N, C, H, W], or latents as float32.
        label: the class of the training that each is of, its null class where it has none of that origin [N]; None without
            classes.
        cpu_seconds: processor time of drawing them, over all sessions (elapsed time on an accelerator).
    """

    x0: torch.Tensor
    label: torch.Tensor | None
    cpu_seconds: float


class PriorStream:
    """Shuffled batches of a prior's images; batch k depends on the seed and on k alone.

    Args:
        prior: the images.
        batch_size: images a step, over all processes; more than there are repeats some.
        seed: of the run.
        rank: which of the processes this is, from 0.
        world: how many processes share a batch.
    """

    def __init__(self, prior: Prior, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.prior, self.batch_size = prior, batch_size
        self.share = share_of(batch_size, rank, world)
        self.seed = derive_seed(seed, "prior")
        self.order = uniform_order(len(prior.x0), self.seed)

    def batch(self, step: int) -> Batch:
        """This process's share of the batch of `step` >= 0."""
        first = step * self.batch_size
        index = self.order.between(first + self.share.start, first + self.share.stop)
        x0 = self.prior.x0[index]
        label = None if self.prior.label is None else self.prior.label[index]
        return Batch(to_floats(x0) if x0.dtype == torch.uint8 else x0, Cond(label=label), index)


def draw_prior(
    config: TrainConfig, spec: ModelSpec, folder: Path | None, reporter: Reporter, stop: StopRequest
) -> Prior:
    """Draws the images that `config.prior` asks for, or reads those that are in `folder` already.

    They have the classes of the model's own training images, as often, and are drawn as the model says (`Model.sampling`). Image
    i depends on the seed and on i alone. A class goes on under its new name where it has one here, and else without a label.

    Args:
        config: of the run.
        spec: of the denoiser in training.
        folder: where they are kept, part by part; None = nowhere.
        reporter: told about progress.
        stop: looked at before each part.

    Raises:
        UserError: the model draws images of another shape, or the folder holds something else.
        InterruptedRun: stopped while drawing; what has been drawn is kept.
    """
    assert config.start_from is not None  # noqa: S101 - the configuration has looked
    model = load_model(config.start_from, config.device)
    _refuse_misfit(model, spec)
    total, seed = config.prior.images, derive_seed(config.seed, "prior images")
    labels = model.training_labels(total, seed)
    store = Store(folder, {"weights": model_hash(config.start_from), "count": total, "seed": seed})
    taken: dict[int, float] = {}  # seconds, by the first image of a part

    def seconds(first: int) -> float:
        return float(store.get(f"{first:08d}-seconds", lambda: torch.tensor(taken.get(first, 0.0))))

    def draw(first: int, end: int) -> torch.Tensor:
        start = spent_seconds(model.device)
        x0 = model.sample_undecoded(end - first, seed, None if labels is None else labels[first:end], first)
        taken[first] = spent_seconds(model.device) - start
        seconds(first)  # is kept at once: a part that is read later took no time
        return x0 if model.draws_latents else to_uint8(x0)

    x0 = draw_in_parts(store, total, PART, draw, stop, reporter, "images of the source")
    label = _labels_here(labels, model.spec, spec, config.finetune.renamed, total)
    return Prior(x0, label, sum(map(seconds, range(0, total, PART))))


def _labels_here(
    labels: torch.Tensor | None, there: ModelSpec, here: ModelSpec, renamed: dict[str, str], count: int
) -> torch.Tensor | None:
    """The classes of a model's images [N] as classes of the training."""
    if not here.class_names:
        return None
    null = len(here.class_names)
    if labels is None:
        return torch.full((count,), null)
    found = origins(there.class_names, here.class_names, renamed)
    return torch.tensor([found.index(old) if old in found else null for old in range(len(there.class_names))])[labels]


def _refuse_misfit(model: Model, spec: ModelSpec) -> None:
    theirs, ours = ((part.shape, part.shapes) for part in (model.spec, spec))
    if theirs == ours and not spec.shapes:
        return
    described = ["images of several shapes" if shapes else f"images {list(shape)}" for shape, shapes in (theirs, ours)]
    raise UserError(
        f"--prior.images mixes images of the model that the training starts from into its batches: it draws {described[0]}, and "
        f"the training is on {described[1]}. Train on images of the model's own shape, or without them."
    )
