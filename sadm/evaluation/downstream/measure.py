"""Downstream gain: does a classifier get better at real images when generated ones are added to what it is trained on?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.core.progress import Reporter, Silent
from sadm.core.seeds import derive_seed
from sadm.core.store import Store
from sadm.data import ImageSet, to_uint8
from sadm.data.splitting import keep_few
from sadm.evaluation.downstream.classifier import ClassifierSettings, class_logits, steps_for
from sadm.evaluation.downstream.mixing import REAL, Mix, labels_to_draw, mixed, mixes
from sadm.evaluation.downstream.report import Measured, describe
from sadm.evaluation.downstream.scores import Answers
from sadm.evaluation.units import unit_numbers

Draw = Callable[[torch.Tensor, int], torch.Tensor]
"""From labels [N], int64, and a seed to images [N, C, H, W] in [-1, 1]."""

Images = Callable[[int], ImageSet]
"""From the number of a classifier to what it is trained on."""

_DRAWN_AT_A_TIME = 1024
DRAWING, TRAINING = "drawing images for classifiers", "classifiers"
FEWEST = 8  # real training images


@dataclasses.dataclass(frozen=True)
class DownstreamSettings:
    """What is measured.

    Attributes:
        seeds: classifiers of each kind.
        fractions: of the real images, for the learning curve, below 1.
        shares: generated images for each real one; the first is the one that a verdict is about.
        classifier: how classifiers are trained; None = as `steps_for` says, for these images.
    """

    seeds: int = 5
    fractions: tuple[float, ...] = (0.25, 0.5, 0.75)
    shares: tuple[int, ...] = (1, 2)
    classifier: ClassifierSettings | None = None

    def __post_init__(self) -> None:
        if self.seeds < 1 or not self.shares or min(self.shares) < 1:
            raise UserError(f"expected at least one seed and shares of at least 1, got {self.seeds} and {self.shares}.")
        if not self.fractions or not all(0 < fraction < 1 for fraction in self.fractions):
            raise UserError(f"fractions of the real images must lie between 0 and 1, got {self.fractions}.")


class Downstream:
    """Classifiers on real images, to which any number of generated sets can be compared.

    Args:
        training: real images that the generator was trained on, labelled.
        test: real images that nobody has seen or chosen by: judges and reference have other ones (`HeldOutParts.floor`).
        settings: what is measured.
        device: where classifiers are trained.
        reporter: told about progress.
        folder: where classifiers' answers are kept until `clear`; None = nowhere.

    Attributes:
        about: what all answers depend on, for JSON.

    Raises:
        UserError: no labels, one class alone, or too few images.
    """

    def __init__(
        self,
        training: ImageSet,
        test: ImageSet,
        settings: DownstreamSettings | None = None,
        device: torch.device | str = "cpu",
        reporter: Reporter | None = None,
        folder: Path | None = None,
    ) -> None:
        check(training, test)
        self.training, self.test, self.device = _plain(training), test, device
        self.settings = settings or DownstreamSettings()
        self.classifier = self.settings.classifier or ClassifierSettings(steps_for(len(training)))
        self.reporter = reporter or Silent()
        self.about: dict[str, Any] = {
            "training": training.fingerprint(),
            "test": test.fingerprint(),
            "classifier": self.classifier.as_dict(),
        }
        self._store = Store(folder, self.about)
        self._real: dict[int, list[Answers]] | None = None
        self._units = None if test.groups is None else unit_numbers(test)

    def real(self) -> dict[int, list[Answers]]:
        """Answers of classifiers that were trained on real images alone: by number of images, for each seed."""
        if self._real is None:
            count, least = len(self.training), max(2, len(self.training.labels.unique()))  # type: ignore[union-attr]
            sizes = sorted({max(least, round(fraction * count)) for fraction in self.settings.fractions} | {count})
            jobs = [(size, seed) for size in sizes for seed in range(self.settings.seeds)]
            found: dict[int, list[Answers]] = {size: [] for size in sizes}
            for done, (size, seed) in enumerate(jobs):
                self.reporter.update(f"{TRAINING} on real images", done, len(jobs))
                found[size].append(self._on_real(size, seed))
            self.reporter.update(f"{TRAINING} on real images", len(jobs), len(jobs))
            self._real = found
        return self._real

    def measure(
        self, draw: Draw, seed: int = 0, folder: Path | None = None, about: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Measures what generated images add; the numbers for JSON, see docs/downstream.md.

        Args:
            draw: draws them.
            seed: for `draw`.
            folder: where generated images and answers are kept until the measurement has ended; None = nowhere.
            about: what `draw` depends on besides the seed, such as a hash of weights, for JSON.

        Raises:
            UserError: images of another shape, or with NaN or infinity.
        """
        labels = self.training.labels
        assert labels is not None  # noqa: S101 - checked
        real = self.real()
        kinds = mixes(labels, self.training.num_classes, self.settings.shares)
        store = Store(folder, {**self.about, "seed": seed, "shares": list(self.settings.shares), "draw": about or {}})
        generated = self._drawn(store, draw, labels_to_draw(kinds), seed)
        sets = {name: self._mixes_of(generated, mix) for name, mix in kinds.items()}
        found = {
            REAL: real[len(self.training)],
            **self.trained_on(sets, store, f"{TRAINING} with generated images"),
        }
        facts = describe(Measured(self.training, self.test, real, found, kinds, self.settings.shares))
        store.clear()
        return {**facts, "classifier": self.classifier.as_dict(), "seed": seed}

    def trained_on(self, sets: Mapping[str, Images], store: Store, task: str = TRAINING) -> dict[str, list[Answers]]:
        """Answers of classifiers that were trained on images of one's own, for each seed.

        Args:
            sets: by name, from the number of a classifier to what it is trained on, in the shape and classes of the real images.
            store: keeps the answers by these names; what else the images depend on is what it is about.
            task: what the progress is called.
        """
        jobs = [(name, number) for name in sets for number in range(self.settings.seeds)]
        found: dict[str, list[Answers]] = {name: [] for name in sets}
        for done, (name, number) in enumerate(jobs):
            self.reporter.update(task, done, len(jobs))

            def answer(name: str = name, number: int = number) -> torch.Tensor:
                return class_logits(sets[name](number), self.test, self.classifier, number, self.device)

            found[name].append(self._answers(store.get(f"{name}-{number}", answer)))
        self.reporter.update(task, len(jobs), len(jobs))
        return found

    def _mixes_of(self, generated: ImageSet, mix: Mix) -> Images:
        return lambda number: mixed(self.training, generated, mix, number)

    def _on_real(self, size: int, seed: int) -> Answers:
        def answer() -> torch.Tensor:
            images = keep_few(self.training, size, derive_seed(seed, "learning curve"))
            return class_logits(images, self.test, self.classifier, seed, self.device)

        return self._answers(self._store.get(f"{REAL}-{size}-{seed}", answer))

    def _answers(self, logits: torch.Tensor) -> Answers:
        assert self.test.labels is not None  # noqa: S101 - checked
        return Answers(logits, self.test.labels, self._units)

    def _drawn(self, store: Store, draw: Draw, labels: torch.Tensor, seed: int) -> ImageSet:
        """Generated images for these labels; each part has a seed of its own, so that it can be drawn alone."""
        parts = []
        for number, part in enumerate(labels.split(_DRAWN_AT_A_TIME)):
            self.reporter.update(DRAWING, number * _DRAWN_AT_A_TIME, len(labels))

            def images(part: torch.Tensor = part, number: int = number) -> torch.Tensor:
                return to_uint8(draw(part, derive_seed(seed, "downstream", number)))

            parts.append(store.get(f"drawn-{number}", images))
        self.reporter.update(DRAWING, len(labels), len(labels))
        names = tuple(f"generated/{i}" for i in range(len(labels)))
        drawn = ImageSet(torch.cat(parts), labels, self.training.class_names, names, "generated images")
        if drawn.shape != self.training.shape:
            raise UserError(f"generated images have shape {drawn.shape}; real ones {self.training.shape}.")
        return drawn


def check(training: ImageSet, test: ImageSet) -> None:
    """Refuses images on which no classifier can be trained or judged.

    Raises:
        UserError: no labels, one class alone, too few images, or other classes or shapes in the two sets.
    """
    if training.labels is None or test.labels is None:
        raise UserError(
            f"{training.source} has no labels, so no classifier can be trained on it. Put the images into one folder for each "
            "class, or leave out --downstream and --representation."
        )
    for images, which in ((training, "training"), (test, "held-out")):
        classes = images.labels.unique()  # type: ignore[union-attr]
        if len(classes) < 2:
            only = images.class_names[int(classes[0])] if len(classes) else "nothing"
            raise UserError(
                f"the {which} images of {training.source} that a classifier would get show only '{only}'; at least two classes "
                "are needed. Add images of others, hold out more (--data.held-out), or leave out --downstream and "
                "--representation."
            )
    if len(training) < FEWEST:
        raise UserError(f"{len(training)} training images are too few for a classifier; at least {FEWEST} are needed.")
    if training.class_names != test.class_names or training.shape != test.shape:
        raise UserError("training and held-out images differ in classes or shape.")


def _plain(images: ImageSet) -> ImageSet:
    """Without what classifiers do not look at: images in aspect buckets are taken resized to the square, as judges see them."""
    return dataclasses.replace(images, shaped=None, masks=None, attributes=None, attribute_names=())
