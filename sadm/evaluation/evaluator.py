"""One evaluation for every arm: the same judges, the same reference, the same floor."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data import ImageSet, to_uint8
from sadm.evaluation.coverage import Manifold, precision_recall
from sadm.evaluation.frechet import GaussianFit, frechet_distance
from sadm.evaluation.full import FullEvaluation, Metrics
from sadm.evaluation.judges import Judge, MlpJudge, SeeingPlaces, build_judges
from sadm.evaluation.kernel import kernel_distance
from sadm.evaluation.per_class import ClassEvaluation, PerClass
from sadm.evaluation.statistics_file import ReferenceStatistics
from sadm.evaluation.structure_spaces import Gaps, StructureSpaces
from sadm.evaluation.units import thirds, unit_numbers

MIN_HELD_OUT = 12
MIN_PART = MIN_HELD_OUT // 3


@dataclasses.dataclass(frozen=True)
class HeldOutParts:
    """The held-out images in three parts that share nothing: no image, and no group.

    Attributes:
        judging: the judges are fitted on these.
        reference: generated images are compared with these.
        floor: as many again; what real images score against the reference is the floor.
    """

    judging: ImageSet
    reference: ImageSet
    floor: ImageSet

    @staticmethod
    def of(held_out: ImageSet, most: int = 3000) -> HeldOutParts:
        """Divides held-out images into parts of equal size, at most `most` images, the same way every time.

        Without groups the parts are thirds. Groups stay whole; what a part has beyond the smallest one is left out.

        Raises:
            UserError: too few held-out images, or groups that can't be divided so (fewer than 3, or some too large).
        """
        return HeldOutParts(*(held_out.subset(index) for index in HeldOutParts.positions(held_out, most)))

    @staticmethod
    def positions(held_out: ImageSet, most: int = 3000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Where the images of the three parts are in the held-out set, int64; arguments and errors as of `of`."""
        count = len(held_out) // 3
        if len(held_out) < MIN_HELD_OUT:
            raise UserError(
                f"{len(held_out)} held-out images are too few to judge by; at least {MIN_HELD_OUT} are needed. Raise "
                "--data.held-out, or give more images."
            )
        units = unit_numbers(held_out)
        if int(units.max()) + 1 < len(held_out):
            return _positions_of_groups(units, most)
        order = torch.randperm(len(held_out), generator=generator("held-out parts", len(held_out)))
        size = min(count, most)
        first, second, third = (order[i * count : i * count + size] for i in range(3))
        return first, second, third


def _positions_of_groups(units: np.ndarray, most: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As `HeldOutParts.positions`, for images of these groups [N]."""
    part_of = torch.from_numpy(thirds(units, generator("held-out groups", len(units)), "a judgement"))  # [N]
    smallest = int(part_of.bincount(minlength=3).min())
    if smallest < MIN_PART:
        sizes = np.bincount(units)
        raise UserError(
            f"the {len(units)} held-out images belong to {len(sizes)} groups of up to {sizes.max()} images; of three parts that "
            f"share no group, the smallest has {smallest}, too few to judge by; at least {MIN_PART} are needed. Raise "
            "--data.held-out, or give images of more groups."
        )
    order = torch.randperm(len(units), generator=generator("held-out parts", len(units)))
    first, second, third = (order[part_of[order] == part][: min(smallest, most)] for part in range(3))
    return first, second, third


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Distances of one set of generated images, by judge.

    Attributes:
        fd: Fréchet distance, the mean over groups of as many images as the reference has.
        kid: kernel distance, likewise.
        label_accuracy: share of images that the classifying judge gives the label they were drawn for; None without one.
        images: how many were generated.
        group: images in a group.
        precision: see `Coverage`; the mean over the same groups; None where it was not asked for.
        recall: likewise.
        classes: by class name (see `Evaluator.evaluate_classes`); None where it was not asked for.
    """

    fd: dict[str, float]
    kid: dict[str, float]
    label_accuracy: float | None
    images: int
    group: int
    precision: dict[str, float] | None = None
    recall: dict[str, float] | None = None
    classes: dict[str, ClassEvaluation] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; without the parts that were not asked for."""
        values = dataclasses.asdict(self)
        for part in ("precision", "recall", "classes"):
            if values[part] is None:
                del values[part]
        return values


class Evaluator:
    """Judges and reference statistics of a data set, computed once.

    A Fréchet distance depends on the number of images behind it. Generated images are therefore judged in groups as large
    as the reference, and the floor is that of real images in the same number.

    Args:
        held_out: images that training never saw.
        further: judges beside those that are fitted on them (see `network_judges`).
    """

    def __init__(self, held_out: ImageSet, further: Sequence[Judge] = ()) -> None:
        self.parts = HeldOutParts.of(held_out)
        self.judges: list[Judge] = [*build_judges(self.parts.judging), *further]
        self._reference = self._features(self.parts.reference)
        self._fits = {name: GaussianFit.of(values) for name, values in self._reference.items()}
        self.floor = self._fd(self._features(self.parts.floor))

    @property
    def group(self) -> int:
        """Images in a group."""
        return len(self.parts.reference)

    @cached_property
    def by_class(self) -> PerClass:
        """The reference, class by class.

        Raises:
            UserError: the images have no classes.
        """
        return PerClass(self.judges, self.parts.reference, self.parts.floor)

    @cached_property
    def real_coverage(self) -> dict[str, dict[str, float]]:
        """``precision`` and ``recall``, by judge, of as many real images: what a perfect generator would score."""
        precision, recall = self._coverage([self._features(self.parts.floor)])
        return {"precision": precision, "recall": recall}

    def evaluate(self, images: torch.Tensor, labels: torch.Tensor | None = None, coverage: bool = False) -> Evaluation:
        """Judges generated images.

        Args:
            images: [N, C, H, W] in [-1, 1]; N a multiple of `group`.
            labels: the classes that they were drawn for [N], or None.
            coverage: whether precision and recall are wanted; they take several times as long as the distances.

        Raises:
            UserError: N is no multiple of the group, or another image shape.
        """
        groups = [self._features(group) for group in self._groups(images, labels)]
        kids = [{name: kernel_distance(x, self._reference[name]) for name, x in group.items()} for group in groups]
        classifier = next((judge for judge in self.judges if isinstance(judge, MlpJudge)), None)
        precision, recall = self._coverage(groups) if coverage else (None, None)
        return Evaluation(
            fd=_mean_of([self._fd(group) for group in groups]),
            kid=_mean_of(kids),
            label_accuracy=None
            if classifier is None or labels is None
            else classifier.accuracy(self._image_set(images, labels)),
            images=len(images),
            group=self.group,
            precision=precision,
            recall=recall,
        )

    def evaluate_classes(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, ClassEvaluation]:
        """Judges generated images class by class.

        Args:
            images: [N, C, H, W] in [-1, 1], drawn for the labels that ``by_class.labels(groups)`` gives.
            labels: these labels [N].

        Returns:
            What each class scores, by class name.

        Raises:
            UserError: the reference has no classes, or there is another number of images of a class.
        """
        return self.by_class.evaluate(self._image_set(images, labels))

    def evaluate_fully(
        self,
        images: torch.Tensor,
        labels: torch.Tensor | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> dict[str, Metrics]:
        """Judges generated images by the dearer metrics; see `FullEvaluation.evaluate`.

        Args:
            images: [N, C, H, W] in [-1, 1]; N a multiple of `group`.
            labels: the classes that they were drawn for [N], or None.
            progress: is told how many of how many feature spaces are done.

        Raises:
            UserError: N is no multiple of the group, or another image shape.
        """
        full = FullEvaluation(self.judges, self.parts.reference, self.parts.floor)
        return full.evaluate(self._groups(images, labels), progress)

    @cached_property
    def structure(self) -> StructureSpaces:
        """The arrangement of the reference, and of as many other real images."""
        return StructureSpaces(self.judges, self.parts.reference, self._reference, self.parts.floor)

    def evaluate_structure(self, images: torch.Tensor, labels: torch.Tensor | None = None) -> Gaps:
        """How far generated images are arranged from how real ones are; see `StructureSpaces`.

        Args:
            images: [N, C, H, W] in [-1, 1]; N a multiple of `group`.
            labels: the classes that they were drawn for [N], or None.

        Raises:
            UserError: N is no multiple of the group, or another image shape.
        """
        return self.structure.of(self._groups(images, labels))

    def against(self, judge: Judge, statistics: ReferenceStatistics, images: torch.Tensor) -> dict[str, float]:
        """Distances of generated images from a published reference, all at once, as published numbers are.

        Args:
            judge: whose features the statistics are of.
            statistics: of the reference.
            images: [N, C, H, W] in [-1, 1]; published numbers are of 50,000.

        Returns:
            ``fd`` and, where the file and the judge have such features, ``spatial_fd``.

        Raises:
            UserError: statistics of features of another length.
        """
        generated = self._image_set(images, None)
        found = {"fd": frechet_distance(GaussianFit.of(judge.features(generated)), statistics.fit)}
        if statistics.spatial is not None and isinstance(judge, SeeingPlaces):
            fit = GaussianFit.of(judge.spatial_features(generated))
            found["spatial_fd"] = frechet_distance(fit, statistics.spatial)
        return found

    def describe(self) -> dict[str, dict[str, Any]]:
        """Each judge's title, kind, feature length, whether it decides, what it learned from, and a classifier's accuracy on the
        reference."""
        facts: dict[str, dict[str, Any]] = {}
        for judge in self.judges:
            facts[judge.name] = {
                "title": judge.title,
                "kind": judge.kind,
                "dim": int(self._reference[judge.name].shape[1]),
                "decides": judge.decides,
                "learned_from": judge.learned_from,
            }
            if isinstance(judge, MlpJudge):
                facts[judge.name]["accuracy"] = judge.accuracy(self.parts.reference)
        return facts

    def _groups(self, images: torch.Tensor, labels: torch.Tensor | None) -> list[ImageSet]:
        if len(images) == 0 or len(images) % self.group or tuple(images.shape[1:]) != self.parts.reference.shape:
            raise UserError(
                f"expected a multiple of {self.group} images of shape {self.parts.reference.shape}, got "
                f"{tuple(images.shape)}."
            )
        generated = self._image_set(images, labels)
        return [generated.subset(part) for part in torch.arange(len(generated)).split(self.group)]

    def _image_set(self, images: torch.Tensor, labels: torch.Tensor | None) -> ImageSet:
        names = tuple(str(index) for index in range(len(images)))
        classes = self.parts.reference.class_names if labels is not None else ()
        return ImageSet(to_uint8(images), labels, classes, names, "samples")

    def _features(self, images: ImageSet) -> dict[str, np.ndarray]:
        return {judge.name: judge.features(images) for judge in self.judges}

    def _fd(self, features: dict[str, np.ndarray]) -> dict[str, float]:
        return {name: frechet_distance(GaussianFit.of(values), self._fits[name]) for name, values in features.items()}

    @cached_property
    def _manifolds(self) -> dict[str, Manifold]:
        return {name: Manifold(values) for name, values in self._reference.items()}

    def _coverage(self, groups: list[dict[str, np.ndarray]]) -> tuple[dict[str, float], dict[str, float]]:
        """Precision and recall by judge, means over groups of features."""
        found = [
            {name: precision_recall(values, self._manifolds[name]) for name, values in group.items()}
            for group in groups
        ]
        precision = _mean_of([{name: part.precision for name, part in group.items()} for group in found])
        recall = _mean_of([{name: part.recall for name, part in group.items()} for group in found])
        return precision, recall


def _mean_of(values: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(value[name] for value in values) / len(values) for name in values[0]}
