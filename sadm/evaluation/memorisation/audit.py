"""The audit of a set of generated images against the images that a model was trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sadm.core.errors import UserError
from sadm.core.progress import Reporter, Silent
from sadm.core.seeds import generator
from sadm.data import ImageSet
from sadm.data.preparation.duplicates import ORIENTATIONS
from sadm.evaluation.memorisation.comparison import Closeness, closeness
from sadm.evaluation.memorisation.copies import CopySearch, Matches
from sadm.evaluation.memorisation.parts import AuditParts, unit_numbers
from sadm.evaluation.memorisation.spaces import FeatureSpaces, ratio
from sadm.evaluation.memorisation.threshold import CopyThreshold, share_interval

LEVEL = 0.01
"""P-values below this count."""
VERDICTS = ("copies", "closer", "look", "clear")
REGISTERED = "registered"
_LEAKED = 0.25  # score of a held-out image that is no fresh one
_DUPLICATES_AMONG = 2000  # images at most
_LISTED = 60  # pairs in the JSON


@dataclasses.dataclass(frozen=True)
class SpaceFinding:
    """What one space says: its title, and whether generated images lie closer to training there."""

    title: str
    closer: Closeness


@dataclasses.dataclass(frozen=True)
class Audit:
    """What was found about N generated images.

    Attributes:
        verdict: "copies" = there are more than chance explains; "closer" = few copies, but closer to training than fresh images
            are; "look" = some look like copies, and as many could by chance; "clear" = neither.
        scores: of each image, how far its nearest training image is by how far the nearest reference image is, in register [N].
        nearest: that training image.
        threshold: when an image is called a copy.
        copies: which images are [N], bool.
        closer: in all spaces together, by the mean of the logarithms of the ratios.
        spaces: each alone, by name.
        duplicates: (images, of the generated, of as many training images): how many have a copy in their own set.
        leaked: fresh images that look like copies of training images, so that the split is none.
        parts: how the held-out images were divided.
        labels: classes that the generated images were drawn for; None without.
        training_images: how many.
        seed: of the division of held-out images.
    """

    verdict: str
    scores: np.ndarray
    nearest: Matches
    threshold: CopyThreshold
    copies: np.ndarray
    closer: Closeness
    spaces: dict[str, SpaceFinding]
    duplicates: tuple[int, int, int]
    leaked: int
    parts: AuditParts
    labels: torch.Tensor | None
    train: ImageSet
    seed: int

    @property
    def order(self) -> np.ndarray:
        """Positions of the generated images, the most like a training image first."""
        return np.argsort(self.scores, kind="stable")

    def closest(self, most: int) -> np.ndarray:
        """Positions of the images most like a training image, the best one for each training image, int64 [<= most]."""
        order = self.order
        _, first = np.unique(self.nearest.index.numpy()[order], return_index=True)
        return np.asarray(order[np.sort(first)[:most]])

    def by_class(self) -> dict[str, dict[str, int]]:
        """Images and copies by class name; empty without classes."""
        if self.labels is None:
            return {}
        labels = self.labels.numpy()
        return {
            name: {"images": int((labels == c).sum()), "copies": int(self.copies[labels == c].sum())}
            for c, name in enumerate(self.train.class_names)
            if (labels == c).any()
        }

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        images, count = len(self.scores), int(self.copies.sum())
        compared, own, real = self.duplicates
        return {
            "verdict": self.verdict,
            "images": images,
            "copies": count,
            "copy_rate": count / images,
            "copy_rate_interval": list(share_interval(count, images)),
            "copied_training_images": len(set(self.nearest.index[torch.from_numpy(self.copies)].tolist())),
            "copies_p_value": self.threshold.p_value(count, images),
            "p_value": self.closer.p_value,
            "closer": dataclasses.asdict(self.closer),
            "spaces": {
                name: {"title": space.title, **dataclasses.asdict(space.closer)} for name, space in self.spaces.items()
            },
            "threshold": {
                **dataclasses.asdict(self.threshold),
                "false_alarms": self.threshold.false_alarms,
            },
            "duplicates": {"images": compared, "generated": own, "real": real},
            "leaked": self.leaked,
            "classes": self.by_class(),
            "training_images": len(self.train),
            "held_out": {
                part: {"images": len(images), "independent": int(unit_numbers(images).max()) + 1}
                for part, images in self._parts().items()
            },
            "pairs": [self.pair(int(i)) for i in self.order[:_LISTED]],
            "seed": self.seed,
        }

    def pair(self, position: int) -> dict[str, Any]:
        """A generated image and its nearest training image, for JSON."""
        return {
            "image": position,
            "training": self.train.names[int(self.nearest.index[position])],
            "score": round(float(self.scores[position]), 4),
            "copy": bool(self.copies[position]),
            "orientation": ORIENTATIONS[int(self.nearest.orientation[position])],
            "shift": self.nearest.shift[position].tolist(),
        }

    def _parts(self) -> dict[str, ImageSet]:
        return {field.name: getattr(self.parts, field.name) for field in dataclasses.fields(self.parts)}


def audit(
    generated: ImageSet, train: ImageSet, held_out: ImageSet, seed: int = 0, reporter: Reporter | None = None
) -> Audit:
    """Looks for copies of training images, and tests whether generated images lie closer to training than fresh images do.

    Args:
        generated: N >= 2 images of the same shape; with labels where classes are to be compared one by one.
        train: the images that the model was trained on, all of them.
        held_out: images of the same kind that it never saw, and that share no group with `train`.
        seed: of the division of the held-out images, and of what is drawn for the comparison of duplicates.
        reporter: where progress is shown.

    Raises:
        UserError: other shapes or classes, too few images.
    """
    _check(generated, train, held_out)
    shown, parts = reporter or Silent(), AuditParts.of(held_out, seed)
    to_train, to_reference = CopySearch(train.floats()), CopySearch(parts.measuring)
    nearest, scores = _scored(generated, to_train, to_reference, shown, "generated images")
    _, fresh = _scored(parts.comparison, to_train, to_reference, shown, "held-out images")
    units = unit_numbers(parts.comparison)
    threshold = CopyThreshold.calibrate(fresh, units)
    spaces = FeatureSpaces(parts.fitting, train, parts.reference)
    own, real = (
        {REGISTERED: first, **spaces.ratios(images, lambda done, total: shown.update("feature spaces", done, total))}
        for images, first in ((generated, scores), (parts.comparison, fresh))
    )
    classes = _classes(generated, parts.comparison)
    titles = {REGISTERED: "pixels in register", **spaces.titles}
    findings = {name: SpaceFinding(titles[name], closeness(own[name], real[name], units, classes)) for name in own}
    together = closeness(_mean_log(own), _mean_log(real), units, classes)
    copies = threshold.flags(scores)
    return Audit(
        verdict=_verdict(int(copies.sum()), len(scores), threshold, together),
        scores=scores,
        nearest=nearest,
        threshold=threshold,
        copies=copies,
        closer=together,
        spaces=findings,
        duplicates=_duplicates(generated, train, to_reference, threshold, seed, shown),
        leaked=int((fresh < _LEAKED).sum()),
        parts=parts,
        labels=generated.labels,
        train=train,
        seed=seed,
    )


def _scored(
    images: ImageSet, training: CopySearch, reference: CopySearch, shown: Reporter, task: str
) -> tuple[Matches, np.ndarray]:
    floats = images.floats()
    nearest = training.nearest(floats, progress=lambda done, total: shown.update(f"comparing {task}", done, total))
    return nearest, ratio(nearest.distance.double().numpy(), reference.nearest(floats).distance.double().numpy())


def _duplicates(
    generated: ImageSet,
    train: ImageSet,
    reference: CopySearch,
    threshold: CopyThreshold,
    seed: int,
    shown: Reporter,
) -> tuple[int, int, int]:
    """How many images have a copy in their own set, in generated and in real sets of one size."""
    size = min(len(generated), len(train), _DUPLICATES_AMONG)
    drawn = torch.randperm(len(train), generator=generator(seed, "audit duplicates"))[:size].sort().values
    counts = []
    for images in (generated.subset(torch.arange(size)), train.subset(drawn)):
        floats = images.floats()
        distance = CopySearch(floats).nearest(floats, own=torch.arange(size)).distance
        scores = ratio(distance.double().numpy(), reference.nearest(floats).distance.double().numpy())
        counts.append(int(threshold.flags(scores).sum()))
        shown.update("duplicates", len(counts), 2)
    return size, counts[0], counts[1]


def _verdict(copies: int, images: int, threshold: CopyThreshold, closer: Closeness) -> str:
    significant = closer.p_value < LEVEL
    if copies and (significant or threshold.p_value(copies, images) < LEVEL):
        return "copies"
    if significant:
        return "closer"
    return "look" if copies else "clear"


def _mean_log(ratios: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(np.mean([np.log(values) for values in ratios.values()], axis=0))


def _classes(generated: ImageSet, comparison: ImageSet) -> tuple[np.ndarray, np.ndarray] | None:
    if generated.labels is None or comparison.labels is None:
        return None
    return generated.labels.numpy(), comparison.labels.numpy()


def _check(generated: ImageSet, train: ImageSet, held_out: ImageSet) -> None:
    sets: Sequence[tuple[str, ImageSet]] = (("training", train), ("held-out", held_out))
    for what, images in sets:
        if images.shape != generated.shape:
            raise UserError(
                f"{generated.source}: generated images are {generated.shape}, {what} images {images.shape}; expected one shape "
                "(channels, height, width)."
            )
    if generated.labels is not None and generated.class_names != train.class_names:
        raise UserError(
            f"{generated.source} has the classes {list(generated.class_names)}, the training images "
            f"{list(train.class_names)}; expected the same, or no labels."
        )
    if len(generated) < 2 or len(train) < 2:
        raise UserError(
            f"an audit needs at least 2 generated and 2 training images, got {len(generated)} and {len(train)}."
        )
    shared = set(train.groups or ()) & set(held_out.groups or ())
    if shared:
        raise UserError(
            f"{len(shared)} groups have both training and held-out images (such as '{min(shared)}'); held-out images would be "
            "no fresh ones. Divide the images by group."
        )
