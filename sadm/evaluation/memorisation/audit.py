"""The audit of a set of generated images against the images that a model was trained on."""

from __future__ import annotations

import dataclasses
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
from sadm.evaluation.memorisation.copy_test import CopyTest
from sadm.evaluation.memorisation.parts import AuditParts
from sadm.evaluation.memorisation.spaces import FeatureSpaces
from sadm.evaluation.memorisation.threshold import CopyThreshold, share_interval
from sadm.evaluation.units import unit_numbers

LEVEL = 0.01
"""P-values below this count."""
VERDICTS = ("copies", "closer", "look", "clear")
"""The gravest first."""
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


class Auditor:
    """Audits sets of generated images against the same training images; what all audits share is computed once.

    Args:
        train: the images that the models were trained on, all of them.
        held_out: images of the same kind that they never saw, and that share no group with `train`.
        seed: of the division of the held-out images, and of what is drawn for the comparison of duplicates.
        reporter: where progress is shown.

    Raises:
        UserError: other shapes, too few images, or groups on both sides.
    """

    def __init__(self, train: ImageSet, held_out: ImageSet, seed: int = 0, reporter: Reporter | None = None) -> None:
        self.train, self.seed, self.shown = train, seed, reporter or Silent()
        self.parts = check_sets(train, held_out, seed)
        self._copies = CopyTest(train, self.parts, self.shown)
        fresh, self.threshold = self._copies.fresh, self._copies.threshold
        self._units = unit_numbers(self.parts.comparison)
        self.leaked = int((fresh < _LEAKED).sum())
        self._spaces = FeatureSpaces(self.parts.fitting, train, self.parts.reference)
        self._real = self._ratios(self.parts.comparison, fresh)
        self._real_duplicates: dict[int, int] = {}

    def audit(self, generated: ImageSet) -> Audit:
        """Looks for copies of training images, and tests whether generated images lie closer to training than fresh images do.

        Args:
            generated: N >= 2 images of the same shape; with labels where classes are to be compared one by one.

        Raises:
            UserError: another shape or other classes, too few images.
        """
        _check(generated, self.train)
        compared = self._copies.compare(generated.floats(), "generated images")
        nearest, scores = compared.nearest, compared.scores
        own, real, units = self._ratios(generated, scores), self._real, self._units
        classes = _classes(generated, self.parts.comparison)
        titles = {REGISTERED: "pixels in register", **self._spaces.titles}
        findings = {name: SpaceFinding(titles[name], closeness(own[name], real[name], units, classes)) for name in own}
        together = closeness(_mean_log(own), _mean_log(real), units, classes)
        copies = self.threshold.flags(scores)
        count = int(copies.sum())
        return Audit(
            verdict=verdict_of(count, self.threshold.p_value(count, len(scores)), together.p_value),
            scores=scores,
            nearest=nearest,
            threshold=self.threshold,
            copies=copies,
            closer=together,
            spaces=findings,
            duplicates=self._duplicates(generated),
            leaked=self.leaked,
            parts=self.parts,
            labels=generated.labels,
            train=self.train,
            seed=self.seed,
        )

    def _ratios(self, images: ImageSet, scores: np.ndarray) -> dict[str, np.ndarray]:
        found = self._spaces.ratios(images, lambda done, total: self.shown.update("feature spaces", done, total))
        return {REGISTERED: scores, **found}

    def _duplicates(self, generated: ImageSet) -> tuple[int, int, int]:
        """How many images have a copy in their own set, in generated and in real sets of one size."""
        size = min(len(generated), len(self.train), _DUPLICATES_AMONG)
        own = self._repeated(generated.subset(torch.arange(size)))
        self.shown.update("duplicates", 1, 2)
        if size not in self._real_duplicates:
            drawn = torch.randperm(len(self.train), generator=generator(self.seed, "audit duplicates"))[:size]
            self._real_duplicates[size] = self._repeated(self.train.subset(drawn.sort().values))
        self.shown.update("duplicates", 2, 2)
        return size, own, self._real_duplicates[size]

    def _repeated(self, images: ImageSet) -> int:
        floats = images.floats()
        distance = CopySearch(floats).nearest(floats, own=torch.arange(len(images))).distance
        return int(self._copies.flags(distance, self._copies.to_reference(floats)).sum())


def audit(
    generated: ImageSet, train: ImageSet, held_out: ImageSet, seed: int = 0, reporter: Reporter | None = None
) -> Audit:
    """Audits one set of generated images; arguments and errors as of `Auditor` and its method `audit`."""
    _check(generated, train)
    return Auditor(train, held_out, seed, reporter).audit(generated)


def verdict_of(copies: int, copies_p_value: float, p_value: float, level: float = LEVEL) -> str:
    """One of `VERDICTS`.

    Args:
        copies: how many images are called copies.
        copies_p_value: that of so many.
        p_value: of lying no closer to training than fresh images.
        level: below which p-values count.
    """
    significant = p_value < level
    if copies and (significant or copies_p_value < level):
        return "copies"
    if significant:
        return "closer"
    return "look" if copies else "clear"


def check_sets(train: ImageSet, held_out: ImageSet, seed: int = 0) -> AuditParts:
    """Refuses images that nothing can be audited by; the parts of the held-out ones otherwise.

    Raises:
        UserError: other shapes, too few images, or groups on both sides.
    """
    if held_out.shape != train.shape:
        raise UserError(
            f"{train.source}: training images are {train.shape}, held-out images {held_out.shape}; expected one shape "
            "(channels, height, width)."
        )
    if len(train) < 2:
        raise UserError(f"an audit needs at least 2 training images, got {len(train)}.")
    shared = set(train.groups or ()) & set(held_out.groups or ())
    if shared:
        raise UserError(
            f"{len(shared)} groups have both training and held-out images (such as '{min(shared)}'); held-out images would be "
            "no fresh ones. Divide the images by group."
        )
    return AuditParts.of(held_out, seed)


def _mean_log(ratios: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(np.mean([np.log(values) for values in ratios.values()], axis=0))


def _classes(generated: ImageSet, comparison: ImageSet) -> tuple[np.ndarray, np.ndarray] | None:
    if generated.labels is None or comparison.labels is None:
        return None
    return generated.labels.numpy(), comparison.labels.numpy()


def _check(generated: ImageSet, train: ImageSet) -> None:
    if generated.shape != train.shape:
        raise UserError(
            f"{generated.source}: generated images are {generated.shape}, training images {train.shape}; expected one shape "
            "(channels, height, width)."
        )
    if generated.labels is not None and generated.class_names != train.class_names:
        raise UserError(
            f"{generated.source} has the classes {list(generated.class_names)}, the training images "
            f"{list(train.class_names)}; expected the same, or no labels."
        )
    if len(generated) < 2:
        raise UserError(f"an audit needs at least 2 generated images, got {len(generated)}.")
