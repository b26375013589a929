"""What is asked for: which classes are filled, up to how many images, and how strict the filters are."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from sadm.core.errors import UserError

LARGEST = "largest"
DRAWS = 10
"""Images drawn for each missing one, at most, unless it is said."""


@dataclasses.dataclass(frozen=True)
class AugmentSettings:
    """What decides which images are made; see `sadm.cli.augment`.

    Attributes:
        target: images that each class is to have: a count, a share of the largest class such as "0.5" or "50%", or "largest".
        classes: names of the classes to fill; () = all below the target.
        seed: of the images and of the filters.
        most: images drawn of a class at most; None = ten for each missing one.
        strictness: an image is refused if less than this share of the real images of its class are as doubtful, in [0, 1).
        classifier_steps: of the filter's classifiers, and of those of the measurement; None = by the number of images.
        with_real: real images are copied beside the generated ones.
    """

    target: str = LARGEST
    classes: tuple[str, ...] = ()
    seed: int = 0
    most: int | None = None
    strictness: float = 0.05
    classifier_steps: int | None = None
    with_real: bool = False

    def __post_init__(self) -> None:
        target_count(self.target, 1)
        if not 0 <= self.strictness < 1:
            raise UserError(f"--strictness is {self.strictness}; expected a share from 0 to below 1, such as 0.05.")
        for name, value in (("draw-at-most", self.most), ("classifier-steps", self.classifier_steps)):
            if value is not None and value < 1:
                raise UserError(f"--{name} is {value}; expected at least 1.")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**dataclasses.asdict(self), "classes": list(self.classes)}


def target_count(text: str, largest: int) -> int:
    """How many images a class is to have.

    Args:
        text: see `AugmentSettings.target`.
        largest: images of the largest class.

    Raises:
        UserError: it is none of these.
    """
    text = text.strip()
    if text == LARGEST:
        return largest
    if re.fullmatch(r"[1-9]\d{0,8}", text):
        return int(text)
    if match := re.fullmatch(r"(0?\.\d{1,6}|1\.0{1,6})|(\d{1,3}(?:\.\d{1,6})?)%", text):
        share = float(match[1]) if match[1] else float(match[2]) / 100
        if 0 < share <= 1:
            return max(1, round(share * largest))
    raise UserError(
        f"--target is '{text}'; expected a number of images such as 500, a share of the largest class such as 0.5 or 50%, or "
        f"'{LARGEST}'."
    )


def missing_images(
    counts: Sequence[int], names: Sequence[str], settings: AugmentSettings, source: str
) -> dict[int, int]:
    """How many images each class that is to be filled lacks, by its index.

    Args:
        counts: training images of each class.
        names: of the classes.
        settings: target and classes.
        source: of the images, for messages.

    Raises:
        UserError: no such class, one without images, one that has as many as asked for, or nothing to fill.
    """
    target = target_count(settings.target, max(counts))
    unknown = [name for name in settings.classes if name not in names]
    if unknown:
        raise UserError(f"--classes names '{unknown[0]}', but {source} has the classes {', '.join(names)}.")
    missing = {label: target - count for label, count in enumerate(counts)}
    for name in settings.classes:
        label = list(names).index(name)
        if not counts[label]:
            raise UserError(f"the class '{name}' of {source} has no training image, so the model can't draw it.")
        if missing[label] <= 0:
            raise UserError(
                f"the class '{name}' of {source} has {counts[label]} training images already, and the target is {target}. Raise "
                "--target, or leave the class out of --classes."
            )
    chosen = [label for label, name in enumerate(names) if not settings.classes or name in settings.classes]
    found = {label: missing[label] for label in chosen if counts[label] and missing[label] > 0}
    if not found:
        least = min(count for count in counts if count)
        raise UserError(
            f"the target is {target} images, and every class of {source} has at least {least} for training: there is nothing to "
            "fill. Raise --target."
        )
    return found
