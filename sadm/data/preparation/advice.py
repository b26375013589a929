"""What to type next: recipe, resolution, channels, fit, batch size, augmentation and balance, from what the images are."""

from __future__ import annotations

import dataclasses
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from sadm.data.colour import FULL_16_BIT
from sadm.data.preparation.facts import GREY, SIDES, Facts, tints

_SIDES = (8, 16, 24, 28, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_ENLARGED = 0.05  # share of the images that may be smaller than the resolution
_ENLARGED_OF_CLASS = 0.2  # the same for each class, so that none is lost
_CROPPED = 0.25  # share of an image's area that a centre crop may take away
_KEPT = 0.7  # share of the contrast that should be left
_LARGE = 8  # times the resolution that a scan's smaller side measures
_MANY_PASSES = 500  # times that training sees each image
UNBALANCED = 10  # images of the most frequent class for each of the rarest
_BALANCE = 0.5  # as docs/loading.md advises to begin with


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is to be known of a training recipe.

    Attributes:
        name: for ``--recipe``.
        source: the data it is made for; None = any folder of images.
        resolution: in pixels; None = the images' own.
        side: of the images that it is made for, in pixels.
        patch: side that divides every resolution it can have.
        batch, steps: of training.
        channels: of the images; None = as they are.
    """

    name: str
    source: str | None
    resolution: int | None
    side: int
    patch: int
    batch: int
    steps: int
    channels: int | None = None


@dataclasses.dataclass(frozen=True)
class Target:
    """The resolution that is meant, and why.

    Attributes:
        resolution: side in pixels; None = the images' own size.
        allowed: the largest usual side that enlarges hardly any image.
        recipe: that suits best; None where none is known.
        asked: the user named the resolution.
    """

    resolution: int | None
    allowed: int
    recipe: Recipe | None
    asked: bool


@dataclasses.dataclass(frozen=True)
class Advice:
    """How to train on the prepared images.

    Attributes:
        target: resolution and recipe.
        fit: how images become squares, as in ``--data.fit``.
        channels: as in ``--data.channels``; None = the recipe's.
        augment: as in ``--augment``.
        balance: as in ``--data.balance``.
        batch: images a step.
        steps: of training.
        passes: times that training sees each image.
        reasons: keys of the sentences that say why, with what goes into them.
        command: to type next; empty where the images cannot be trained on.
    """

    target: Target
    fit: str
    channels: int | None
    augment: str
    balance: float
    batch: int
    steps: int
    passes: float
    reasons: tuple[tuple[str, dict[str, Any]], ...]
    command: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        recipe = self.target.recipe
        return {
            "resolution": self.target.resolution,
            "resolution_allowed": self.target.allowed,
            "recipe": recipe.name if recipe else None,
            "fit": self.fit,
            "channels": self.channels,
            "augment": self.augment,
            "balance": self.balance,
            "batch": self.batch,
            "steps": self.steps,
            "passes": round(self.passes, 1),
            "command": self.command,
        }


def choose_target(
    facts: Sequence[Facts], labels: Sequence[str | None], asked: int | None, recipes: Sequence[Recipe], source: str
) -> Target:
    """Chooses recipe and resolution: a recipe for this very source, else the one for the largest images that enlarges hardly any
    of these; of several, one for any folder.

    Args:
        facts: of images that can be read.
        labels: of each.
        asked: the resolution that the user named.
        recipes: that there are.
        source: as the user named it.
    """
    allowed = _allowed([fact.smaller_side for fact in facts], labels)
    own = [recipe for recipe in recipes if recipe.source == source]
    if own:
        recipe = max(own, key=lambda one: one.side)
        return Target(asked or recipe.resolution, allowed, recipe, asked is not None)
    by_side = sorted(recipes, key=lambda one: (one.side, one.source is None))
    fitting = [one for one in by_side if one.side <= (asked or allowed)]
    recipe_or_none = fitting[-1] if fitting else by_side[0] if by_side else None
    if asked is not None or recipe_or_none is None:
        return Target(asked or allowed, allowed, recipe_or_none, asked is not None)
    if recipe_or_none.side <= allowed:
        return Target(recipe_or_none.side, allowed, recipe_or_none, False)
    smallest, patch = min((fact.smaller_side for fact in facts), default=allowed), recipe_or_none.patch
    return Target(max(smallest // patch, 1) * patch, allowed, recipe_or_none, False)


@dataclasses.dataclass(frozen=True)
class Subject:
    """What the advice is about.

    Attributes:
        facts: of the usable images.
        labels: of each.
        trained: whether each is for training.
        data: the prepared folder, for the command.
        run: a folder for the run.
        why_not: why the images cannot be trained on; empty where they can.
        max_megapixels: the limit that was asked for.
        white_level: the value of 16-bit grey that becomes white.
        arrays: the images come as arrays, which are not cut or padded.
    """

    facts: Sequence[Facts]
    labels: Sequence[str | None]
    trained: Sequence[bool]
    data: str
    run: str
    why_not: str = ""
    max_megapixels: float | None = None
    white_level: int = FULL_16_BIT
    arrays: bool = False

    def pictures(self, side: int | None) -> int:
        """Images to train on; as tiles of a side, where one is given."""
        facts = [fact for fact, trained in zip(self.facts, self.trained, strict=True) if trained]
        return len(facts) if side is None else sum(-(-fact.width // side) * -(-fact.height // side) for fact in facts)

    def of_classes(self) -> list[int]:
        """Images to train on of each class."""
        pairs = zip(self.labels, self.trained, strict=True)
        return [*Counter(label for label, trained in pairs if trained and label is not None).values()]


def advise(target: Target, subject: Subject) -> Advice:
    """Puts together how to train on something, from `choose_target`."""
    reasons: list[tuple[str, dict[str, Any]]] = []
    fit = _fit(target, subject, reasons)
    recipe = target.recipe
    if recipe is None:
        return Advice(target, fit, None, "none", 0.0, 0, 0, 0.0, tuple(reasons), "")
    count = subject.pictures(target.resolution if fit == "tiles" else None)
    channels = _channels(recipe, subject.facts, reasons)
    batch = recipe.batch
    while batch > 2 and 2 * batch > count:
        batch //= 2
    passes = recipe.steps * batch / max(count, 1)
    if batch < recipe.batch:
        reasons.append(("batch_smaller", {"batch": batch, "usual": recipe.batch, "images": count}))
    else:
        reasons.append(("batch_usual", {"batch": batch}))
    often = passes > _MANY_PASSES
    reasons.append(("passes", {"steps": recipe.steps, "passes": round(passes), "images": count}))
    if often:
        reasons.append(("augment", {}))
    counts = subject.of_classes()
    ratio = max(counts) / min(counts) if counts else 1.0
    balance = _BALANCE if ratio > UNBALANCED else 0.0
    if balance:
        reasons.append(("balance", {"ratio": ratio}))
    advice = Advice(
        target, fit, channels, "photos" if often else "none", balance, batch, recipe.steps, passes, tuple(reasons), ""
    )
    return advice if subject.why_not else dataclasses.replace(advice, command=_command(advice, recipe, subject))


def _command(advice: Advice, recipe: Recipe, subject: Subject) -> str:
    options = {
        "--data.resolution": (advice.target.resolution, recipe.resolution),
        "--data.channels": (advice.channels, None),
        "--data.fit": (advice.fit, "crop"),
        "--data.max-megapixels": (subject.max_megapixels, None),
        "--data.white-level": (subject.white_level, FULL_16_BIT),
        "--data.balance": (advice.balance, 0.0),
        "--augment": (advice.augment, "none"),
        "--optimiser.batch": (advice.batch, recipe.batch),
    }
    words = ["sadm", "train", "--recipe", recipe.name, "--data", subject.data, "--out", subject.run]
    for option, (value, usual) in options.items():
        if value != usual:
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def _channels(recipe: Recipe, facts: Sequence[Facts], reasons: list[tuple[str, dict[str, Any]]]) -> int | None:
    """1 where all images are grey and would be trained on in colour."""
    if not facts or recipe.channels != 3 or np.abs(tints(facts)).max() > GREY:
        return None
    reasons.append(("grey", {}))
    return 1


def _fit(target: Target, subject: Subject, reasons: list[tuple[str, dict[str, Any]]]) -> str:
    resolution, facts = target.resolution, subject.facts
    if resolution is None or not facts:
        reasons.append(("own_size", {}))
        return "crop"
    if target.asked:
        key = "resolution_asked" if resolution <= target.allowed else "resolution_too_large"
    else:
        key = "resolution_of_recipe" if target.recipe else "resolution_allowed"
    reasons.append((key, {"resolution": resolution, "allowed": target.allowed}))
    kept = kept_at(facts, resolution)
    if kept is not None:
        reasons.append(("kept", {"kept": kept, "resolution": resolution}))
    if subject.arrays:
        return "crop"
    smaller = float(np.median([fact.smaller_side for fact in facts]))
    if kept is not None and kept < _KEPT and smaller >= _LARGE * resolution:
        reasons.append(("tiles", {"side": round(smaller), "resolution": resolution}))
        return "tiles"
    lost = float(np.median([1 - fact.smaller_side / max(fact.width, fact.height) for fact in facts]))
    if lost > _CROPPED:
        reasons.append(("pad", {"lost": lost}))
        return "pad"
    reasons.append(("crop", {}))
    return "crop"


def kept_at(facts: Sequence[Facts], resolution: int) -> float | None:
    """Median share of the contrast that remains at about this resolution; None where images are hardly larger."""
    side = int(np.argmin([abs(np.log(s / resolution)) for s in SIDES]))
    shares = [fact.kept[side] for fact in facts if len(fact.kept) > side]
    return float(np.median(shares)) if 2 * len(shares) > len(facts) else None


def _allowed(sides: Sequence[int], labels: Sequence[str | None]) -> int:
    for side in reversed(_SIDES):
        small = Counter(label for found, label in zip(sides, labels, strict=True) if found < side)
        every = Counter(labels)
        if small.total() <= _ENLARGED * len(sides) and all(
            count <= _ENLARGED_OF_CLASS * every[label] for label, count in small.items()
        ):
            return side
    return min(sides, default=_SIDES[0])
