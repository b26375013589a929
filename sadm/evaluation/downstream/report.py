"""From classifiers' answers to the numbers of a downstream gain."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from sadm.core.intervals import Interval, mean_interval
from sadm.data import ImageSet
from sadm.evaluation.downstream.crossed import crossed_interval
from sadm.evaluation.downstream.mixing import REAL, Mix, times
from sadm.evaluation.downstream.scores import LOWER_IS_BETTER, METRICS, Answers
from sadm.evaluation.downstream.worth import BOUND, worth

Seeds = Sequence[Answers]


@dataclasses.dataclass(frozen=True)
class Measured:
    """Answers, in the order of seeds everywhere.

    Attributes:
        training: real training images.
        test: the images that were asked about.
        curve: of classifiers on real images alone, by their number.
        answers: of `REAL`, all real images, and of each of `mixes`.
        mixes: with generated images.
        shares: see `DownstreamSettings`.
    """

    training: ImageSet
    test: ImageSet
    curve: Mapping[int, Seeds]
    answers: Mapping[str, Seeds]
    mixes: Mapping[str, Mix]
    shares: tuple[int, ...]


def describe(measured: Measured) -> dict[str, Any]:
    """The numbers, for JSON: scores of each mix, gains over real images alone, what they are worth, class by class."""
    names, real = measured.training.class_names, measured.answers[REAL]
    sizes = {name: int(mix.generated.sum()) for name, mix in measured.mixes.items()}
    scores, gains, worths = {}, {}, {}
    for name, seeds in measured.answers.items():
        images = len(measured.training) if name == REAL or measured.mixes[name].real else 0
        scores[name] = {"real_images": images, "generated_images": sizes.get(name, 0), **scores_of(seeds, names)}
        if name != REAL:
            gains[name] = {
                **{metric: crossed_gain(seeds, real, metric).as_dict() for metric in METRICS},
                **class_gains(seeds, real, names),
            }
            if measured.mixes[name].real:
                worths[name] = {metric: _worth(measured, seeds, metric) for metric in METRICS}
    headline = times(measured.shares[0])
    return {
        "training_images": len(measured.training),
        "held_out_images": len(measured.test),
        "classes": {
            name: {"training_images": trained, "held_out_images": held}
            for name, trained, held in zip(names, counts_of(measured.training), counts_of(measured.test), strict=True)
        },
        "seeds": len(real),
        "scores": scores,
        "gains": gains,
        "curve": [
            {"real_images": size, **{metric: _interval(seeds, metric).as_dict() for metric in METRICS}}
            for size, seeds in measured.curve.items()
        ],
        "worth": worths,
        "headline": headline,
        "outcome": worths[headline]["accuracy"]["outcome"],
    }


def crossed_gain(seeds: Seeds, real: Seeds, metric: str, confidence: float | None = None) -> Interval:
    """By how much classifiers are better than those on real images, seed by seed; the interval is over seeds and test images."""
    differences = np.stack([a.by_image(metric) - b.by_image(metric) for a, b in zip(seeds, real, strict=True)])
    lower = metric in LOWER_IS_BETTER
    return crossed_interval(
        -differences if lower else differences,
        real[0].labels if metric == "balanced_accuracy" else None,
        binary=not lower,
        units=real[0].units,
        **({} if confidence is None else {"confidence": confidence}),
    )


def _worth(measured: Measured, seeds: Seeds, metric: str) -> dict[str, Any]:
    errors = np.array([[answers.error(metric) for answers in found] for found in measured.curve.values()]).T  # [S, F]
    gain = crossed_gain(seeds, measured.answers[REAL], metric, BOUND)
    return worth(list(measured.curve), errors, gain).as_dict()


def scores_of(seeds: Seeds, names: Sequence[str]) -> dict[str, Any]:
    """Metrics, and recall and precision of each class, with intervals over seeds, for JSON."""
    return {
        **{metric: _interval(seeds, metric).as_dict() for metric in METRICS},
        "recall": _by_class([answers.recall for answers in seeds], names),
        "precision": _by_class([answers.precision for answers in seeds], names),
    }


def class_gains(seeds: Seeds, real: Seeds, names: Sequence[str]) -> dict[str, Any]:
    """Gains of recall (over seeds and test images) and of precision (over seeds) of each class, for JSON."""
    precision = [a.precision - b.precision for a, b in zip(seeds, real, strict=True)]
    recall: dict[str, Any] = {}
    for index, name in enumerate(names):
        rows = np.flatnonzero(real[0].labels == index)
        found = [a.correct[rows] - b.correct[rows] for a, b in zip(seeds, real, strict=True)]
        units = real[0].units_at(rows)
        recall[name] = crossed_interval(np.stack(found), binary=True, units=units).as_dict() if len(rows) else None
    return {"recall": recall, "precision": _by_class(precision, names)}


def _by_class(values: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, Any]:
    """Intervals over the seeds in which a class has a value; None where it never has one."""
    table = np.stack(values)  # [S, K]
    found = {name: column[np.isfinite(column)].tolist() for name, column in zip(names, table.T, strict=True)}
    return {name: mean_interval(column).as_dict() if column else None for name, column in found.items()}


def _interval(seeds: Seeds, metric: str) -> Interval:
    return mean_interval([answers.score(metric) for answers in seeds])


def counts_of(images: ImageSet) -> list[int]:
    """Images of each class."""
    assert images.labels is not None  # noqa: S101 - checked before anything was trained
    return torch.bincount(images.labels, minlength=images.num_classes).tolist()
