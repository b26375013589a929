"""What to type next: resolution, fit, recipe, batch size and steps, from what the images are."""

from __future__ import annotations

import dataclasses
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from sadm.data.preparation.facts import SIDES, Facts

_SIDES = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_ENLARGED = 0.05  # share of the images that may be smaller than the resolution
_ENLARGED_OF_CLASS = 0.2  # the same for each class, so that none is lost
_CROPPED = 0.25  # share of an image's area that a centre crop may take away
_KEPT = 0.7  # share of the contrast that should be left
_LARGE = 8  # times the resolution that a scan's smaller side measures
_MANY_PASSES = 500  # times that training sees each image


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is to be known of a training recipe.

    Attributes:
        name: for ``--recipe``.
        source: the data it is made for; None = any folder of images.
        resolution: in pixels; None = the images' own.
        patch: side that divides every resolution it can have.
        batch, steps: of training.
    """

    name: str
    source: str | None
    resolution: int | None
    patch: int
    batch: int
    steps: int


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
        batch: images a step.
        steps: of training.
        passes: times that training sees each image.
        reasons: keys of the sentences that say why, with what goes into them.
        command: to type next; empty where the images cannot be trained on.
    """

    target: Target
    fit: str
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
            "batch": self.batch,
            "steps": self.steps,
            "passes": round(self.passes, 1),
            "command": self.command,
        }


def choose_target(
    facts: Sequence[Facts], labels: Sequence[str | None], asked: int | None, recipes: Sequence[Recipe], source: str
) -> Target:
    """Chooses recipe and resolution: a recipe for this very source, else one for any folder, the finest that enlarges hardly
    any image.

    Args:
        facts: of images that can be read.
        labels: of each.
        asked: the resolution that the user named.
        recipes: that there are.
        source: as the user named it.
    """
    allowed = _allowed([fact.smaller_side for fact in facts], labels)
    own = [recipe for recipe in recipes if recipe.source == source]
    general = [recipe for recipe in recipes if recipe.source is None and recipe.resolution is not None]
    if own:
        recipe: Recipe | None = max(own, key=lambda one: one.resolution or 1 << 20)
    else:
        general.sort(key=lambda one: one.resolution or 0)
        fitting = [one for one in general if (one.resolution or 0) <= allowed]
        recipe = fitting[-1] if fitting else general[0] if general else None
    if asked is not None or recipe is None or recipe.resolution is None:
        return Target(asked or (None if own else allowed), allowed, recipe, asked is not None)
    if recipe.resolution <= allowed:
        return Target(recipe.resolution, allowed, recipe, False)
    smallest = min((fact.smaller_side for fact in facts), default=allowed)
    return Target(max(smallest // recipe.patch, 1) * recipe.patch, allowed, recipe, False)


def advise(
    target: Target,
    facts: Sequence[Facts],
    training_images: int,
    data: str,
    run: str,
    why_not: str = "",
    max_megapixels: float | None = None,
) -> Advice:
    """Puts together how to train.

    Args:
        target: from `choose_target`.
        facts: of the usable images.
        training_images: how many of them are trained on.
        data: the prepared folder, for the command.
        run: a folder for the run.
        why_not: why the images cannot be trained on; empty where they can.
        max_megapixels: the limit that was asked for.
    """
    reasons: list[tuple[str, dict[str, Any]]] = []
    fit = _fit(target, facts, reasons)
    recipe = target.recipe
    if recipe is None:
        return Advice(target, fit, 0, 0, 0.0, tuple(reasons), "")
    batch = recipe.batch
    while batch > 2 and 2 * batch > training_images:
        batch //= 2
    passes = recipe.steps * batch / max(training_images, 1)
    if batch < recipe.batch:
        reasons.append(("batch_smaller", {"batch": batch, "usual": recipe.batch, "images": training_images}))
    else:
        reasons.append(("batch_usual", {"batch": batch}))
    key = "passes_many" if passes > _MANY_PASSES else "passes"
    reasons.append((key, {"steps": recipe.steps, "passes": round(passes), "images": training_images}))
    words = ["sadm", "train", "--recipe", recipe.name, "--data", data, "--out", run]
    if target.resolution != recipe.resolution:
        words += ["--data.resolution", str(target.resolution)]
    if fit != "crop":
        words += ["--data.fit", fit]
    if max_megapixels is not None:
        words += ["--data.max-megapixels", f"{max_megapixels:g}"]
    if batch != recipe.batch:
        words += ["--optimiser.batch", str(batch)]
    return Advice(target, fit, batch, recipe.steps, passes, tuple(reasons), "" if why_not else shlex.join(words))


def _fit(target: Target, facts: Sequence[Facts], reasons: list[tuple[str, dict[str, Any]]]) -> str:
    resolution = target.resolution
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
