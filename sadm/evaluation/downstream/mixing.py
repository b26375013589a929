"""What classifiers are trained on: real images, parts of them, and generated images beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch

from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data import ImageSet
from sadm.data.ragged import Ragged

REAL, FILLED, ALONE = "real", "filled", "generated_alone"
_WORTH_FILLING = 0.1  # added images as a share of the real ones


@dataclasses.dataclass(frozen=True)
class Mix:
    """A training set.

    Attributes:
        real: whether real images are in it.
        generated: generated images of each class [K], int64.
    """

    real: bool
    generated: torch.Tensor


def times(share: int) -> str:
    """The name of the mix with `share` generated images for each real one."""
    return f"with_{share}x"


def mixes(labels: torch.Tensor, classes: int, shares: tuple[int, ...]) -> dict[str, Mix]:
    """The training sets with generated images, by name.

    Args:
        labels: of the real images [N].
        classes: K.
        shares: generated images for each real one, in each class.

    Returns:
        ``with_1x`` and so on; ``filled``, where every class gets as many images as the largest has, unless that adds less than
        a tenth; ``generated_alone``, as many as there are real ones, without these (Ravuri & Vinyals 2019, arXiv 1905.10887).
    """
    counts = torch.bincount(labels, minlength=classes)
    found = {times(share): Mix(True, share * counts) for share in shares}
    missing = torch.where(counts > 0, counts.max() - counts, 0)
    if int(missing.sum()) >= _WORTH_FILLING * len(labels):
        found[FILLED] = Mix(True, missing)
    return {**found, ALONE: Mix(False, counts)}


def labels_to_draw(found: Mapping[str, Mix]) -> torch.Tensor:
    """Labels of the generated images that serve all mixes, int64, shuffled so that any part of them has all classes."""
    most = torch.stack([mix.generated for mix in found.values()]).amax(0)  # [K]
    labels = torch.arange(len(most)).repeat_interleave(most)
    return labels[torch.randperm(len(labels), generator=generator("downstream labels"))]


def mixed(real: ImageSet, generated: ImageSet, mix: Mix, seed: int) -> ImageSet:
    """The images of a mix; which generated ones of each class are in it is drawn from `seed`."""
    assert generated.labels is not None  # noqa: S101 - for the type checker; they were drawn for labels
    order = torch.randperm(len(generated), generator=generator(seed, "downstream mix"))
    chosen = []
    for label, count in enumerate(mix.generated.tolist()):
        members = order[generated.labels[order] == label]
        if len(members) < count:
            raise UserError(
                f"{count} generated images of class '{real.class_names[label]}' are needed, got {len(members)}."
            )
        chosen.append(members[:count])
    return together(real if mix.real else real.subset(torch.arange(0)), generated.subset(torch.cat(chosen)))


def together(real: ImageSet, generated: ImageSet) -> ImageSet:
    """Both sets as one to train a classifier on; where windows are drawn from real images, a generated one is its own window."""
    assert real.labels is not None  # noqa: S101 - as above
    assert generated.labels is not None  # noqa: S101
    uncropped = None
    if real.uncropped is not None:
        uncropped = Ragged.of([*(real.uncropped[i] for i in range(len(real))), *generated.images])
    return ImageSet(
        torch.cat([real.images, generated.images]),
        torch.cat([real.labels, generated.labels]),
        real.class_names,
        (*real.names, *generated.names),
        real.source,
        uncropped=uncropped,
    )
