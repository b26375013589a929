"""Are new images still like those that a model was trained on? In feature spaces, plain facts, classes, and support."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sadm.core.errors import UserError
from sadm.core.progress import Reporter, Silent
from sadm.core.seeds import generator
from sadm.data import ImageSet
from sadm.evaluation.drift.facts import image_facts
from sadm.evaluation.drift.power import Baseline, smallest_seen
from sadm.evaluation.drift.relabelling import Gaussian, Outcome, Relabelling, holm
from sadm.evaluation.drift.support import OUTSIDE, Support
from sadm.evaluation.judges import Judge, MlpJudge, build_judges
from sadm.evaluation.memorisation.parts import AuditParts

LEVEL = 0.01
"""Adjusted p-values below this count."""
MOST = 1500  # images of each side in a test
_GALLERY = 20_000  # training images among which the nearest is looked for
SPACE, FACT, SHARES, SUPPORT = "space", "fact", "classes", "support"
PREDICTED = "predicted"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One comparison of new with training images (of `SUPPORT`: with held-out images).

    Attributes:
        kind: `SPACE`, `FACT`, `SHARES` or `SUPPORT`.
        value: the statistic; larger is farther.
        p_value: of no drift.
        adjusted: for the number of tests (see `holm`).
        usual: what 95 % of comparisons without drift give at most, at these numbers of images.
        facts: particulars for JSON.
    """

    kind: str
    value: float
    p_value: float
    adjusted: float
    usual: float
    facts: dict[str, Any]

    @property
    def seen(self) -> bool:
        """Whether it says that there is drift."""
        return self.adjusted < LEVEL


@dataclasses.dataclass(frozen=True)
class Drift:
    """How new images differ from those of training.

    Attributes:
        tests: by name: the judges', facts', ``classes`` and ``support``.
        support: which images lie outside of what training has shown.
        classes: by class name: shares of training and of new images, and new images outside; empty without classes.
        labels_from: "" = none, "labels" = the sources', "predicted" = by the classifying judge.
        new_classes: names that no training image has; only where both sides have labels.
        gone_classes: names that no new image has, where chance would leave them out with a probability below `LEVEL`.
        floor: by test name, the p-value of as many held-out images, as far as there are so many: no drift, unless the split
            made one.
        floor_images: how many these were.
        seen: for each kind of change, the smallest size that would have been seen; see `smallest_seen`.
        images, training_images: how many were compared.
        units: independent new images or groups.
    """

    tests: dict[str, Finding]
    support: Support
    classes: dict[str, dict[str, Any]]
    labels_from: str
    new_classes: tuple[str, ...]
    gone_classes: tuple[str, ...]
    floor: dict[str, float]
    floor_images: int
    seen: dict[str, float | None]
    images: int
    training_images: int
    units: int

    @property
    def found(self) -> bool:
        """Whether any test says that there is drift."""
        return any(test.seen for test in self.tests.values())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        outside = self.support.outside
        return {
            "drift": self.found,
            "images": self.images,
            "independent": self.units,
            "training_images": self.training_images,
            "level": LEVEL,
            "tests": {name: dataclasses.asdict(test) | {"seen": test.seen} for name, test in self.tests.items()},
            "outside": {
                "images": int(outside.sum()),
                "share": float(outside.mean()),
                "expected": self.support.expected,
                "held_out": self.support.units,
            },
            "labels_from": self.labels_from,
            "classes": self.classes,
            "new_classes": list(self.new_classes),
            "gone_classes": list(self.gone_classes),
            "floor": {"p_values": self.floor, "images": self.floor_images},
            "would_have_been_seen": self.seen,
        }


@dataclasses.dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        images: of it.
        units: which belong together [n].
        features: by judge [n, d].
        facts: by name [n].
        labels: class names [n]; None without.
    """

    images: ImageSet
    units: np.ndarray
    features: dict[str, np.ndarray]
    facts: dict[str, np.ndarray]
    labels: np.ndarray | None

    def of(self, index: np.ndarray) -> Side:
        """Some of them."""
        return Side(
            self.images.subset(torch.from_numpy(index)),
            self.units[index],
            {name: values[index] for name, values in self.features.items()},
            {name: values[index] for name, values in self.facts.items()},
            None if self.labels is None else self.labels[index],
        )


Sizes = Callable[[ImageSet], dict[str, np.ndarray]]
"""Further facts of each image by name, such as what is known of its file; the same names for all sets."""


class Monitor:
    """A model's training and held-out images, to which new images are compared.

    Args:
        train: the images that it was trained on.
        held_out: images of the same kind that it never saw.
        seed: of the division of held-out images, and of all draws.
        reporter: where progress is shown.

    Raises:
        UserError: too few held-out images.
    """

    def __init__(self, train: ImageSet, held_out: ImageSet, seed: int = 0, reporter: Reporter | None = None) -> None:
        self.shown, self.seed, self.train = reporter or Silent(), seed, train
        parts = AuditParts.of(held_out, seed)
        self.judges: list[Judge] = build_judges(parts.fitting)
        self.fresh_images = joined(parts.reference, parts.comparison)
        order = torch.randperm(len(train), generator=generator(seed, "monitor training")).numpy()
        self.gallery = train.subset(torch.from_numpy(np.sort(order[:_GALLERY])))

    def measure(self, new: ImageSet, further: Sizes | None = None, power: bool = True) -> Drift:
        """Compares.

        Args:
            new: N >= 2 images in the shape of the training images.
            further: gives more facts than `image_facts` does.
            power: whether to find out what would have been seen, and the floor.

        Raises:
            UserError: another shape, or too few images.
        """
        self._check(new)
        by_name = new.labels is not None and self.train.labels is not None
        whole, gallery, fresh = (
            self._side(images, further, by_name) for images in (new, self.gallery, self.fresh_images)
        )
        support = Support.of(whole.features, fresh.features, gallery.features, fresh.units)
        own = whole.of(self._drawn(len(new), "new"))
        training = gallery.of(self._drawn(len(gallery.images), "training"))
        kernels = {
            judge.name: Gaussian.of(np.concatenate([own.features[judge.name], training.features[judge.name]]))
            for judge in self.judges
        }
        found = self._compare(own, training, kernels, "new")
        found["support"] = (SUPPORT, self._outside(support, whole, fresh), {})
        adjusted = holm({name: tested.p_value for name, (_, tested, _) in found.items()})
        count = min(len(own.images), len(fresh.images))
        floor, seen = {}, {}
        if power:
            drawn = self._drawn(len(fresh.images), "floor")[:count]
            floor = {
                name: one for name, (_, one, _) in self._compare(fresh.of(drawn), training, kernels, "floor").items()
            }
            baseline = _baseline(training, gallery, support, kernels, floor, LEVEL / len(found))
            seen = smallest_seen(
                fresh.images,
                count,
                baseline,
                lambda images: (self._features(images), image_facts(images)),
                self.seed,
                lambda done, total: self.shown.update("what would be seen", done, total),
            )
        new_classes, gone = _differing(whole, gallery) if by_name else ((), ())
        return Drift(
            tests={
                name: Finding(kind, tested.value, tested.p_value, adjusted[name], tested.usual, facts)
                for name, (kind, tested, facts) in found.items()
            },
            support=support,
            classes=_by_class(whole, gallery, support),
            labels_from="" if whole.labels is None else ("labels" if by_name else PREDICTED),
            new_classes=new_classes,
            gone_classes=gone,
            floor={name: tested.p_value for name, tested in floor.items()},
            floor_images=count,
            seen=seen,
            images=len(new),
            training_images=len(self.train),
            units=len(np.unique(whole.units)),
        )

    def _compare(
        self, own: Side, training: Side, kernels: dict[str, Gaussian], what: str
    ) -> dict[str, tuple[str, Outcome, dict[str, Any]]]:
        relabelled = Relabelling(own.units, training.units + own.units.max() + 1, self._seed_of(what))
        found: dict[str, tuple[str, Outcome, dict[str, Any]]] = {}
        total = len(kernels) + len(own.facts) + (own.labels is not None)
        for judge in self.judges:
            both = np.concatenate([own.features[judge.name], training.features[judge.name]])
            tested = relabelled.discrepancy(kernels[judge.name](both, both))
            found[judge.name] = (SPACE, tested, {"title": judge.title, "decides": judge.decides})
            self.shown.update(f"comparing ({what})", len(found), total)
        for name, values in own.facts.items():
            if np.ptp(np.concatenate([values, training.facts[name]])) == 0:
                continue  # nothing to compare, and no test to adjust others for
            tested = relabelled.distribution(np.concatenate([values, training.facts[name]]))
            found[name] = (FACT, tested, _moved(values, training.facts[name]))
            self.shown.update(f"comparing ({what})", len(found), total)
        if own.labels is not None and training.labels is not None:
            found["classes"] = (SHARES, relabelled.shares(np.concatenate([own.labels, training.labels])), {})
            self.shown.update(f"comparing ({what})", len(found), total)
        return found

    def _outside(self, support: Support, whole: Side, fresh: Side) -> Outcome:
        drawn = self._drawn(len(whole.images), "new")
        relabelled = Relabelling(whole.units[drawn], fresh.units + whole.units.max() + 1, self._seed_of("support"))
        return relabelled.tail(np.concatenate([support.scores[drawn], support.fresh]), OUTSIDE)

    def _side(self, images: ImageSet, further: Sizes | None, by_name: bool) -> Side:
        facts = image_facts(images) | ({} if further is None else further(images))
        labels = None
        if by_name and images.labels is not None:
            labels = np.array(images.class_names)[images.labels.numpy()]
        elif self.train.labels is not None and not by_name:
            labels = self._predicted(images)
        return Side(images, units_of(images), self._features(images), facts, labels)

    def _predicted(self, images: ImageSet) -> np.ndarray | None:
        judge = next((judge for judge in self.judges if isinstance(judge, MlpJudge)), None)
        return None if judge is None else np.array(self.train.class_names)[judge.predict(images)]

    def _features(self, images: ImageSet) -> dict[str, np.ndarray]:
        return {judge.name: judge.features(images) for judge in self.judges}

    def _drawn(self, count: int, what: str) -> np.ndarray:
        """At most `MOST` positions, in a random order."""
        return torch.randperm(count, generator=generator(self.seed, "monitor draw", what)).numpy()[:MOST]

    def _seed_of(self, what: str) -> int:
        return int(torch.randint(2**31, (1,), generator=generator(self.seed, "monitor test", what)))

    def _check(self, new: ImageSet) -> None:
        if new.shape != self.train.shape:
            raise UserError(
                f"{new.source}: images are {new.shape}, training images {self.train.shape}; expected one shape (channels, "
                "height, width)."
            )
        if len(new) < 2:
            raise UserError(f"{new.source} holds {len(new)} new image; at least 2 are needed to compare. Add images.")


def units_of(images: ImageSet) -> np.ndarray:
    """Which images are not independent of each other [N]: those of a group, or with equal pixels."""
    values = np.array(images.groups) if images.groups is not None else images.keys.numpy()
    return np.unique(values, return_inverse=True)[1].reshape(-1)


def joined(first: ImageSet, second: ImageSet) -> ImageSet:
    """Two sets of equal shape and classes as one: pixels, labels, names and groups."""
    labels = None
    if first.labels is not None and second.labels is not None:
        labels = torch.cat([first.labels, second.labels])
    groups = None if first.groups is None or second.groups is None else (*first.groups, *second.groups)
    return ImageSet(
        torch.cat([first.images, second.images]),
        labels,
        first.class_names,
        (*first.names, *second.names),
        first.source,
        groups=groups,
    )


def _moved(values: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Medians, and their difference by the standard deviation of training images."""
    spread = float(reference.std())
    new, old = float(np.median(values)), float(np.median(reference))
    moved = (new - old) / spread if spread > 0 else 0.0
    return {"new": new, "training": old, "by_standard_deviations": moved}


def _baseline(
    training: Side,
    gallery: Side,
    support: Support,
    kernels: dict[str, Gaussian],
    floor: dict[str, Outcome],
    level: float,
) -> Baseline:
    count = len(training.images)
    within = {}
    for name, kernel in kernels.items():
        pairs = kernel(training.features[name], training.features[name]).fill_diagonal_(0)
        within[name] = float(pairs.double().sum()) / (count * (count - 1))
    return Baseline(
        training=training.features,
        gallery=gallery.features,
        support=support,
        kernels=kernels,
        within=within,
        facts={name: np.sort(values) for name, values in image_facts(training.images).items() if name in floor},
        critical={name: tested.critical(level) for name, tested in floor.items()},
        level=level,
    )


def _differing(new: Side, training: Side) -> tuple[tuple[str, ...], tuple[str, ...]]:
    assert new.labels is not None  # noqa: S101 - for the type checker; the caller has looked
    assert training.labels is not None  # noqa: S101
    names, counts = np.unique(training.labels, return_counts=True)
    units = len(np.unique(new.units))
    expected = dict(zip(names.tolist(), ((1 - counts / counts.sum()) ** units).tolist(), strict=True))
    present = set(new.labels.tolist())
    gone = tuple(name for name, chance in expected.items() if name not in present and chance < LEVEL)
    return tuple(sorted(present - set(expected))), gone


def _by_class(new: Side, training: Side, support: Support) -> dict[str, dict[str, Any]]:
    if new.labels is None or training.labels is None:
        return {}
    outside = support.outside
    return {
        str(name): {
            "training_share": float((training.labels == name).mean()),
            "share": float((new.labels == name).mean()),
            "images": int((new.labels == name).sum()),
            "outside": int(outside[new.labels == name].sum()),
        }
        for name in np.union1d(new.labels, training.labels)
    }
