"""One evaluation for every arm: the same judges, the same reference, the same floor."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data import ImageSet, to_uint8
from sadm.evaluation.frechet import GaussianFit, frechet_distance
from sadm.evaluation.judges import Judge, MlpJudge, build_judges
from sadm.evaluation.kernel import kernel_distance

MIN_HELD_OUT = 12


@dataclasses.dataclass(frozen=True)
class HeldOutParts:
    """The held-out images in three parts that share nothing.

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
        """Divides held-out images into thirds of at most `most` images, the same way every time.

        Raises:
            UserError: too few held-out images.
        """
        count = len(held_out) // 3
        if len(held_out) < MIN_HELD_OUT:
            raise UserError(
                f"{len(held_out)} held-out images are too few to judge by; at least {MIN_HELD_OUT} are needed. Raise "
                "--data.held-out, or give more images."
            )
        order = torch.randperm(len(held_out), generator=generator("held-out parts", len(held_out)))
        size = min(count, most)
        parts = [held_out.subset(order[i * count : i * count + size]) for i in range(3)]
        return HeldOutParts(*parts)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Distances of one set of generated images, by judge.

    Attributes:
        fd: Fréchet distance, the mean over groups of as many images as the reference has.
        kid: kernel distance, likewise.
        label_accuracy: share of images that the classifying judge gives the label they were drawn for; None without one.
        images: how many were generated.
        group: images in a group.
    """

    fd: dict[str, float]
    kid: dict[str, float]
    label_accuracy: float | None
    images: int
    group: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


class Evaluator:
    """Judges and reference statistics of a data set, computed once.

    A Fréchet distance depends on the number of images behind it. Generated images are therefore judged in groups as large
    as the reference, and the floor is that of real images in the same number.

    Args:
        held_out: images that training never saw.
    """

    def __init__(self, held_out: ImageSet) -> None:
        self.parts = HeldOutParts.of(held_out)
        self.judges: list[Judge] = build_judges(self.parts.judging)
        reference = {judge.name: judge.features(self.parts.reference) for judge in self.judges}
        self._reference = reference
        self._fits = {name: GaussianFit.of(values) for name, values in reference.items()}
        self.floor = self._fd(self.parts.floor)

    @property
    def group(self) -> int:
        """Images in a group."""
        return len(self.parts.reference)

    def evaluate(self, images: torch.Tensor, labels: torch.Tensor | None = None) -> Evaluation:
        """Judges generated images.

        Args:
            images: [N, C, H, W] in [-1, 1]; N a multiple of `group`.
            labels: the classes that they were drawn for [N], or None.

        Raises:
            UserError: N is no multiple of the group, or another image shape.
        """
        reference = self.parts.reference
        if len(images) == 0 or len(images) % self.group or tuple(images.shape[1:]) != reference.shape:
            raise UserError(
                f"expected a multiple of {self.group} images of shape {reference.shape}, got {tuple(images.shape)}."
            )
        named = tuple(str(index) for index in range(len(images)))
        generated = ImageSet(
            to_uint8(images), labels, reference.class_names if labels is not None else (), named, "samples"
        )
        groups = [generated.subset(torch.arange(i, i + self.group)) for i in range(0, len(generated), self.group)]
        fds = [self._fd(group) for group in groups]
        kids = [
            {judge.name: kernel_distance(judge.features(group), self._reference[judge.name]) for judge in self.judges}
            for group in groups
        ]
        classifier = next((judge for judge in self.judges if isinstance(judge, MlpJudge)), None)
        accuracy = classifier.accuracy(generated) if classifier is not None and labels is not None else None
        return Evaluation(_mean_of(fds), _mean_of(kids), accuracy, len(generated), self.group)

    def describe(self) -> dict[str, dict[str, Any]]:
        """Each judge's title, kind, feature length, whether it decides, and a classifier's accuracy on the reference."""
        facts: dict[str, dict[str, Any]] = {}
        for judge in self.judges:
            facts[judge.name] = {
                "title": judge.title,
                "kind": judge.kind,
                "dim": int(self._reference[judge.name].shape[1]),
                "decides": judge.decides,
            }
            if isinstance(judge, MlpJudge):
                facts[judge.name]["accuracy"] = judge.accuracy(self.parts.reference)
        return facts

    def _fd(self, images: ImageSet) -> dict[str, float]:
        return {
            judge.name: frechet_distance(GaussianFit.of(judge.features(images)), self._fits[judge.name])
            for judge in self.judges
        }


def _mean_of(values: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(value[name] for value in values) / len(values) for name in values[0]}
