"""Judging class by class: what an average over all images hides when classes are unbalanced."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from sadm.core.errors import UserError
from sadm.data import ImageSet
from sadm.evaluation.coverage import NEIGHBOURS, Manifold, precision_recall
from sadm.evaluation.frechet import GaussianFit, frechet_distance
from sadm.evaluation.judges import Judge

MIN_CLASS = NEIGHBOURS + 1


@dataclasses.dataclass(frozen=True)
class ClassEvaluation:
    """How near generated images of one class come to real ones of that class, by judge.

    Attributes:
        fd: Fréchet distance, the mean over groups of as many images as the reference has of that class.
        precision: see `Coverage`; the mean over the same groups.
        recall: likewise.
    """

    fd: dict[str, float]
    precision: dict[str, float]
    recall: dict[str, float]


class PerClass:
    """Reference statistics of each class.

    A class is judged on as many images in the reference, in each group of generated images and in the floor: the smaller of
    what the reference and the floor's images hold of it. Classes with fewer than `MIN_CLASS` images are left out.

    Args:
        judges: the feature spaces.
        reference: real images, labelled.
        floor: further real images, labelled; what they score is what real images score.

    Raises:
        UserError: images without labels.

    Attributes:
        sizes: images of each class that is judged, by class name.
        real: what the floor's images score, by class name.
    """

    def __init__(self, judges: Sequence[Judge], reference: ImageSet, floor: ImageSet) -> None:
        if reference.labels is None or floor.labels is None:
            raise UserError(f"{reference.source} has no classes, so nothing can be judged class by class.")
        self.judges = judges
        self.sizes: dict[str, int] = {}
        self._index: dict[str, int] = {}
        self._fits: dict[tuple[str, str], GaussianFit] = {}
        self._manifolds: dict[tuple[str, str], Manifold] = {}
        chosen = []
        for index, name in enumerate(reference.class_names):
            members, others = (_members(images, index) for images in (reference, floor))
            size = min(len(members), len(others))
            if size < MIN_CLASS:
                continue
            self.sizes[name], self._index[name] = size, index
            chosen.append(others[:size])
            for judge in judges:
                features = judge.features(reference.subset(members[:size]))
                self._fits[name, judge.name] = GaussianFit.of(features)
                self._manifolds[name, judge.name] = Manifold(features)
        self.real = self.evaluate(floor.subset(torch.cat(chosen))) if chosen else {}

    def labels(self, groups: int) -> torch.Tensor:
        """Labels, int64, to draw images for: `groups` groups of each class that is judged."""
        counts = torch.tensor([size * groups for size in self.sizes.values()], dtype=torch.int64)
        return torch.tensor(list(self._index.values()), dtype=torch.int64).repeat_interleave(counts)

    def evaluate(self, images: ImageSet) -> dict[str, ClassEvaluation]:
        """Judges labelled images, by class name.

        Args:
            images: of each class that is judged a multiple of its size, as `labels` gives it.

        Raises:
            UserError: no labels, or another number of images of a class.
        """
        if images.labels is None:
            raise UserError("judging class by class needs the classes that the images were drawn for, got no labels.")
        scores: dict[str, ClassEvaluation] = {}
        for name, size in self.sizes.items():
            members = _members(images, self._index[name])
            if len(members) == 0 or len(members) % size:
                raise UserError(f"expected a multiple of {size} images of class '{name}', got {len(members)}.")
            groups = [images.subset(part) for part in members.split(size)]
            scores[name] = self._evaluate_class(name, groups)
        return scores

    def _evaluate_class(self, name: str, groups: list[ImageSet]) -> ClassEvaluation:
        found = ClassEvaluation({}, {}, {})
        for judge in self.judges:
            features = [judge.features(group) for group in groups]  # each [size, d]
            fit, manifold = self._fits[name, judge.name], self._manifolds[name, judge.name]
            coverage = [precision_recall(values, manifold) for values in features]
            found.fd[judge.name] = _mean([frechet_distance(GaussianFit.of(values), fit) for values in features])
            found.precision[judge.name] = _mean([part.precision for part in coverage])
            found.recall[judge.name] = _mean([part.recall for part in coverage])
        return found


def _members(images: ImageSet, index: int) -> torch.Tensor:
    assert images.labels is not None  # noqa: S101 - for the type checker; both callers have checked
    return (images.labels == index).nonzero().flatten()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
