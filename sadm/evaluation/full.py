"""The dearer metrics of generated images, each beside what as many real images score."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sadm.core.errors import UserError
from sadm.data import ImageSet
from sadm.evaluation.coverage import Manifold, precision_recall
from sadm.evaluation.frechet import GaussianFit, frechet_distance
from sadm.evaluation.frechet_limit import FrechetLimit, frechet_limit
from sadm.evaluation.inception_score import inception_score
from sadm.evaluation.judges import Classifying, Judge, RandomConvJudge, SeeingPlaces
from sadm.evaluation.kernel import KernelEstimate, kernel_distance_interval
from sadm.evaluation.structure_metric import StructureGaps
from sadm.evaluation.structure_spaces import PATCHES, gaps_of_features, gaps_of_patches, named

Metrics = dict[str, dict[str, Any]]
"""By metric: ``value``, the mean over groups, and ``real``, what real images score; with ``value_error`` and ``real_error``,
standard errors, where there are such; a ``reason`` alone where nothing can be told."""


@dataclasses.dataclass(frozen=True)
class _Sample:
    images: ImageSet
    features: np.ndarray  # [N, d]


class FullEvaluation:
    """Judges sets of generated images by every metric there is.

    Args:
        judges: feature spaces.
        reference: real images.
        floor: as many again; what they score is what real images score.
    """

    def __init__(self, judges: Sequence[Judge], reference: ImageSet, floor: ImageSet) -> None:
        self.judges, self.reference, self.floor = judges, reference, floor

    def evaluate(
        self, groups: Sequence[ImageSet], progress: Callable[[int, int], None] = lambda done, total: None
    ) -> dict[str, Metrics]:
        """Judges generated images.

        Args:
            groups: each as large as the reference, with the labels that they were drawn for, where there are any.
            progress: is told how many of how many feature spaces are done.

        Returns:
            Metrics by feature space: the judges' names; ``spatial``, the random convolutions by place, and ``spatial_NAME`` of
            other judges that see places; and ``patches`` (pixels).
        """
        by_place = {_space_of(judge): judge for judge in self.judges if isinstance(judge, SeeingPlaces)}
        total = len(self.judges) + len(by_place) + 1
        report: dict[str, Metrics] = {}
        for judge in self.judges:
            progress(len(report), total)
            report[judge.name] = self._judged(judge, groups)
        for space, judge_of_places in by_place.items():
            progress(len(report), total)
            report[space] = self._by_place(judge_of_places, groups)
        progress(len(report), total)
        report[PATCHES] = self._patches(groups)
        progress(total, total)
        return report

    def _judged(self, judge: Judge, groups: Sequence[ImageSet]) -> Metrics:
        reference, floor = (_Sample(images, judge.features(images)) for images in (self.reference, self.floor))
        ours = [_Sample(images, judge.features(images)) for images in groups]
        together = np.concatenate([sample.features for sample in ours])
        manifold = Manifold(reference.features)

        def kid(features: np.ndarray) -> KernelEstimate:
            return kernel_distance_interval(features, reference.features)

        def limit(features: np.ndarray) -> FrechetLimit:
            return frechet_limit(features, reference.features)

        def shares(sample: _Sample) -> dict[str, float]:
            coverage = precision_recall(sample.features, manifold)
            return {**vars(coverage), **vars(manifold.density_coverage(sample.features))}

        def structure(sample: _Sample) -> dict[str, float]:
            return _named(gaps_of_features(sample.images, sample.features, self.reference, reference.features))

        def score(sample: _Sample) -> dict[str, float]:
            assert isinstance(judge, Classifying)  # noqa: S101 - for the type checker
            return {"inception_score": inception_score(judge.probabilities(sample.images), 1, None).mean}

        return {
            "kid": _or_reason(lambda: _with_errors(kid(together), kid(floor.features))),
            "fd_limit": _or_reason(lambda: _with_errors(limit(together), limit(floor.features))),
            **_beside(shares, ours, floor),
            **(_beside(score, ours, floor) if isinstance(judge, Classifying) else {}),
            **_beside(structure, ours, floor),
        }

    def _by_place(self, judge: SeeingPlaces, groups: Sequence[ImageSet]) -> Metrics:
        fit = GaussianFit.of(judge.spatial_features(self.reference))

        def distance(images: ImageSet) -> dict[str, float]:
            return {"fd": frechet_distance(GaussianFit.of(judge.spatial_features(images)), fit)}

        return _beside(distance, groups, self.floor)

    def _patches(self, groups: Sequence[ImageSet]) -> Metrics:
        def structure(images: ImageSet) -> dict[str, float]:
            return _named(gaps_of_patches(images, self.reference))

        return _beside(structure, groups, self.floor)


def _space_of(judge: Judge) -> str:
    """What its features by place are called."""
    return "spatial" if isinstance(judge, RandomConvJudge) else f"spatial_{judge.name}"


def _named(gaps: StructureGaps) -> dict[str, float]:
    return {f"structure_{name}": value for name, value in named(gaps).items()}


def _beside(metric: Callable[[Any], dict[str, float]], groups: Sequence[Any], floor: Any) -> Metrics:
    """Means over groups beside what the floor scores; of what all of them have."""
    try:
        real, found = metric(floor), [metric(group) for group in groups]
    except UserError as error:
        return {metric.__name__: {"reason": str(error)}}
    names = [name for name in real if all(name in values for values in found)]
    return {name: {"value": float(np.mean([values[name] for values in found])), "real": real[name]} for name in names}


def _with_errors(ours: KernelEstimate | FrechetLimit, real: KernelEstimate | FrechetLimit) -> dict[str, Any]:
    return {
        "value": ours.value,
        "value_error": ours.standard_error,
        "real": real.value,
        "real_error": real.standard_error,
    }


def _or_reason(told: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return told()
    except UserError as error:
        return {"reason": str(error)}
